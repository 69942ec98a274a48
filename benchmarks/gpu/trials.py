"""Small ONNX files and what TensorRT makes of them: built, run once, compared. What `gpu_checks.py` asks with."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from hyperseg_runtime.contracts.graph_spec import DType, GraphSpec, Reuse, TensorSpec

KEPT: list[Any] = []
"""Engines need the library objects they came from, as long as this process lasts."""
Arrays = dict[str, np.ndarray]


def attention(width: int, kind: str, mask: str) -> tuple[Path, Arrays, Arrays]:
    """One Attention node in a 16-bit type, its inputs and what float32 arithmetic makes of them."""
    from onnx import TensorProto, helper

    number = getattr(TensorProto, kind)
    random = np.random.default_rng(0)
    rows = {"q": 16, "k": 64, "v": 64}
    inputs: Arrays = {name: random.standard_normal((1, 4, count, width), np.float32) for name, count in rows.items()}
    allowed = np.arange(64)[None, :] <= 48 + np.arange(16)[:, None]
    inputs["mask"] = (allowed if mask == "bool" else np.where(allowed, 0, -1e4).astype(np.float32))[None, None]
    nodes = [helper.make_node("Cast", [name], [f"{name}_"], to=number) for name in "qkv"]
    nodes += [] if mask == "bool" else [helper.make_node("Cast", ["mask"], ["mask_"], to=number)]
    names = ["q_", "k_", "v_", "mask" if mask == "bool" else "mask_"]
    nodes += [helper.make_node("Attention", names, ["made"], scale=float(width**-0.5))]
    nodes += [helper.make_node("Cast", ["made"], ["y"], to=TensorProto.FLOAT)]
    path = model_file(nodes, {name: array.shape for name, array in inputs.items()}, {"y": (1, 4, 16, width)}, (), mask)
    scores = inputs["q"] @ inputs["k"].swapaxes(2, 3) * width**-0.5 + np.where(allowed, 0, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return path, inputs, {"y": weights / weights.sum(-1, keepdims=True) @ inputs["v"]}


def model_file(
    nodes: list[Any],
    inputs: dict[str, Any],
    outputs: dict[str, Any],
    weights: Any = (),
    mask: str = "",
    functions: Any = (),
) -> Path:
    """An ONNX file with fixed shapes; float32 at its borders, but for a mask of truth values."""
    import onnx
    from onnx import TensorProto, helper

    kinds = {"mask": TensorProto.BOOL} if mask == "bool" else {}
    given, made = (
        [helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), shape) for name, shape in side.items()]
        for side in (inputs, outputs)
    )
    graph = helper.make_graph(nodes, "check", given, made, list(weights))
    opsets = [helper.make_opsetid(domain, version) for domain, version in (("", 24), ("hyperseg", 1))]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=functions)
    path = Path(tempfile.mkdtemp()) / "check.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def spec_of(path: Path) -> GraphSpec:
    import onnx

    graph = onnx.load(path).graph
    kinds = {onnx.TensorProto.FLOAT: DType.FLOAT32, onnx.TensorProto.BOOL: DType.BOOL}
    sides = [
        tuple(
            TensorSpec(
                name=value.name,
                dtype=kinds[value.type.tensor_type.elem_type],
                axes=tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim),
            )
            for value in side
        )
        for side in (graph.input, graph.output)
    ]
    return GraphSpec(name=path.stem, inputs=sides[0], outputs=sides[1], axis_ranges={}, reuse=Reuse.TOKEN)


def built(path: Path, spec: GraphSpec, profiles: Any, flags: Any = ()) -> bytes:
    """A plan of a file, as `build` makes it but for decomposed attention. Raises EngineError."""
    import tensorrt as trt

    from hyperseg_export.engine.network import add_profile, mark_weights, parse
    from hyperseg_export.engine.profiles import Profile
    from hyperseg_runtime.backends.tensorrt.logger import make_logger, reason
    from hyperseg_runtime.errors import EngineError

    logger = make_logger(trt)
    builder = trt.Builder(logger)
    network = parse(trt, builder, logger, path, spec)
    if trt.BuilderFlag.REFIT_INDIVIDUAL in flags:
        mark_weights(network, path, spec)
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.clear_flag(trt.BuilderFlag.TF32)
    for flag in flags:
        config.set_flag(flag)
    for profile in profiles or (Profile("fixed", {}),):
        add_profile(builder, config, spec, profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(reason(logger))
    return bytes(memoryview(plan))


def new_reader() -> Any:
    """An EngineReader that stays."""
    import tensorrt as trt

    from hyperseg_runtime.backends.tensorrt.engine import EngineReader

    KEPT.append(EngineReader(trt))
    return KEPT[-1]


def read(plan: bytes, reader: Any = None) -> Any:
    """The engine of a plan."""
    path = Path(tempfile.mkdtemp()) / "check.plan"
    path.write_bytes(plan)
    return (reader or new_reader()).read(path, host_code=False)


def tried(path: Path, inputs: Arrays, expected: Arrays) -> dict[str, Any]:
    """Whether a file builds, and how far its engine's outputs are from `expected`."""
    import tensorrt as trt

    from hyperseg_export.parity.compare import worst_error
    from hyperseg_runtime.backends.cuda.device import Device
    from hyperseg_runtime.backends.cuda.driver import load_cudart
    from hyperseg_runtime.backends.tensorrt.graph import TensorRTGraph
    from hyperseg_runtime.backends.tensorrt.logger import make_logger
    from hyperseg_runtime.errors import HypersegError

    spec = spec_of(path)
    try:
        engine = read(built(path, spec, ()))
    except HypersegError as error:
        return {"built": False, "why": str(error)}
    device = Device(load_cudart())
    graph = TensorRTGraph(spec, trt, engine, device, make_logger(trt), recordings=0)
    outputs = graph.run({name: device.upload(array) for name, array in inputs.items()})
    errors = {name: worst_error(outputs[name].to_host(), wanted) for name, wanted in expected.items()}
    graph.close()
    device.close()
    return {"built": True, "error / range": errors}
