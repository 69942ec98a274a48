"""One node that an engine gets wrong, as a case that Polygraphy runs: model, inputs, and what should come out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hyperseg_export.parity.recording import Arrays
from hyperseg_runtime.files.writing import explained

COMMAND = "polygraphy run model.onnx --trt --load-inputs inputs.json --load-outputs outputs.json"
LOW = (10, 16)
"""ONNX's float16 and bfloat16. NumPy lacks the latter: inputs and output of a case are float32, cast inside."""


def write_case(folder: Path, model: Any, weights: Path, node: Any, given: Arrays, tensor: str) -> None:
    """Write `model.onnx`, `inputs.json`, `outputs.json` and `README.txt` for a node of `model`.

    `given` holds what the node reads of other nodes; its weights lie in files beside the model, in `weights`. The
    expected output is what ONNX Runtime makes of the case in float32 arithmetic. Raises OutputError.
    """
    import onnx
    from polygraphy.comparator import RunResults
    from polygraphy.json import save_json
    from polygraphy.logger import G_LOGGER

    from hyperseg_export.onnx.upcast import upcast

    G_LOGGER.module_severity = G_LOGGER.ERROR  # it prints what it saves
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    case = _case(model, weights, node, given, tensor)
    onnx.save(case, folder / "model.onnx")
    inputs = {name: np.ascontiguousarray(values, _plain(values)) for name, values in given.items()}
    save_json([inputs], str(folder / "inputs.json"))
    wide = folder / "wide.onnx"
    upcast(folder / "model.onnx", wide)
    expected = _run(wide, inputs)
    output = onnx.helper.make_tensor_value_info(f"{tensor}.float32", onnx.TensorProto.FLOAT, list(expected.shape))
    case.graph.output[0].CopyFrom(output)
    onnx.save(case, folder / "model.onnx")
    results = RunResults()
    results.add([{output.name: expected}], runner_name="onnxruntime-float32")
    results.save(str(folder / "outputs.json"))
    wide.unlink()
    wide.with_suffix(".data").unlink(missing_ok=True)
    (folder / "README.txt").write_text(
        f"The engine differs first in {tensor}, which the node {node.name or '?'} ({node.op_type}) computes.\n"
        f"{COMMAND}\n(with TensorRT 10 add --strongly-typed)\n"
    )


def _case(model: Any, weights: Path, node: Any, given: Arrays, tensor: str) -> Any:
    import onnx
    from onnx import helper

    constants = [entry for entry in model.graph.initializer if entry.name in node.input]
    for constant in constants:
        if constant.data_location == onnx.TensorProto.EXTERNAL:
            onnx.external_data_helper.load_external_data_for_tensor(constant, str(weights))
            constant.data_location = onnx.TensorProto.DEFAULT
            del constant.external_data[:]
    values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    kinds = {value.name: value.type.tensor_type.elem_type for value in values}
    inputs, before = [], []
    renamed = {}
    for name, array in given.items():
        low = kinds[name] in LOW
        inputs.append(
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT if low else kinds[name], list(array.shape))
        )
        if low:
            renamed[name] = f"{name}.low"
            before.append(helper.make_node("Cast", [name], [renamed[name]], to=kinds[name]))
    alone = onnx.NodeProto()
    alone.CopyFrom(node)
    alone.input[:] = [renamed.get(name, name) for name in node.input]
    after = helper.make_node("Cast", [tensor], [f"{tensor}.float32"], to=onnx.TensorProto.FLOAT)
    output = helper.make_tensor_value_info(f"{tensor}.float32", onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph([*before, alone, after], "case", inputs, [output], constants)
    return helper.make_model(
        graph, opset_imports=model.opset_import, functions=model.functions, ir_version=model.ir_version
    )


def _run(path: Path, inputs: Arrays) -> np.ndarray:
    import onnxruntime as ort

    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names: Sequence[str] = [entry.name for entry in session.get_inputs()]
    return np.asarray(session.run(None, {name: inputs[name] for name in names})[0])


def _plain(values: np.ndarray) -> Any:
    """float32 for every kind of float: the case casts."""
    return np.float32 if values.dtype.kind == "f" else values.dtype
