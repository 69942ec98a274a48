"""Typed graphs in float32 arithmetic."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from hyperseg_export.onnx.upcast import widen
from hyperseg_runtime.contracts.bfloat16 import from_bits, to_bits


def model(kind: int, weight: np.ndarray, folder: Path) -> Path:
    """y = float(cast(x) @ weight), squeezed by an integer tensor without axes, weights in a file of their own."""
    tensor = helper.make_tensor("weight", kind, weight.shape, weight.ravel().tolist())
    nodes = [
        helper.make_node("Cast", ["x"], ["narrow"], to=kind),
        helper.make_node("MatMul", ["narrow", "weight"], ["product"]),
        helper.make_node("Constant", [], ["one"], value=helper.make_tensor("one", kind, [], [1.0])),
        helper.make_node("Add", ["product", "one"], ["sum"]),
        helper.make_node("Gather", ["sum", "row"], ["last"], axis=0),
        helper.make_node("Cast", ["last"], ["y"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [32])],
        [tensor, numpy_helper.from_array(np.array(1, np.int64), "row")],
        value_info=[helper.make_tensor_value_info("product", kind, ["batch", 32])],
    )
    path = folder / "typed.onnx"
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=10)
    onnx.save(made, path, save_as_external_data=True, location="typed.data", size_threshold=0)
    return path


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_weights_stay_rounded_and_sums_are_not(tmp_path: Path, kind: int) -> None:
    random = np.random.default_rng(0)
    weight, x = random.standard_normal((64, 32)).astype(np.float32), random.standard_normal((2, 64)).astype(np.float32)
    widen(model(kind, weight, tmp_path), tmp_path / "wide.onnx")
    onnx.checker.check_model(tmp_path / "wide.onnx")
    session = ort.InferenceSession(tmp_path / "wide.onnx", providers=["CPUExecutionProvider"])
    rounded = (
        weight.astype(np.float16).astype(np.float32) if kind == TensorProto.FLOAT16 else from_bits(to_bits(weight))
    )
    (found,) = session.run(["y"], {"x": x})
    np.testing.assert_allclose(found, x[1] @ rounded + 1, rtol=1e-5, atol=1e-5)
    assert np.abs(rounded - weight).max() > 1e-5
    wide = onnx.load(tmp_path / "wide.onnx", load_external_data=False)
    kinds = {tensor.data_type for tensor in wide.graph.initializer} | {
        value.type.tensor_type.elem_type for value in wide.graph.value_info
    }
    assert kinds == {TensorProto.FLOAT, TensorProto.INT64}
