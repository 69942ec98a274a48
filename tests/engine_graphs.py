"""Small ONNX graphs as engines of TensorRT's double, for tests of what is done with engines."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hyperseg_runtime.contracts.graph_spec import AxisRange, DType, GraphSpec, Reuse, TensorSpec

BATCH = {"batch": AxisRange(minimum=1, typical=2, maximum=4)}
CONVOLUTION = GraphSpec(
    name="small",
    inputs=(TensorSpec(name="x", dtype=DType.FLOAT32, axes=("batch", 3, 8, 8)),),
    outputs=(TensorSpec(name="y", dtype=DType.FLOAT32, axes=("batch", 3, 8, 8)),),
    axis_ranges=BATCH,
    reuse=Reuse.IMAGE,
)


def convolution(path: Path, kind: int = TensorProto.BFLOAT16) -> Path:
    """float32 -> Conv in `kind` -> float32; returns `path`."""
    weights = numpy_helper.from_array(np.ones((3, 3, 1, 1), np.float32), "w32")
    nodes = [
        helper.make_node("Cast", ["x"], ["low"], "to_low", to=kind),
        helper.make_node("Conv", ["low", "w"], ["made"], "conv"),
        helper.make_node("Cast", ["made"], ["y"], "to_wide", to=TensorProto.FLOAT),
    ]
    weight = helper.make_tensor("w", kind, weights.dims, np.ones(9, np.float32), raw=False)
    values = [helper.make_tensor_value_info(name, kind, ["batch", 3, 8, 8]) for name in ("low", "made")]
    return _saved(path, CONVOLUTION, nodes, [weight], values)


def opened(path: Path, spec: GraphSpec = CONVOLUTION, profiles: int = 1, streaming: bool = False) -> tuple[Any, Any]:
    """The double, imported anew, and the engine it makes of `path`."""
    import tensorrt as trt

    logger = trt.ILogger()
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    assert trt.OnnxParser(network, logger).parse_from_file(str(path))
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    if streaming:
        config.set_flag(trt.BuilderFlag.WEIGHT_STREAMING)
    for _ in range(profiles):
        ranges = builder.create_optimization_profile()
        for tensor in spec.inputs:
            sizes = [
                {name: getattr(limits, part) for name, limits in spec.axis_ranges.items()}
                for part in ("minimum", "typical", "maximum")
            ]
            ranges.set_shape(tensor.name, *(tensor.shape(size) for size in sizes))
        config.add_optimization_profile(ranges)
    plan = builder.build_serialized_network(network, config)
    return trt, trt.Runtime(logger).deserialize_cuda_engine(plan)


def _saved(path: Path, spec: GraphSpec, nodes: list[Any], weights: list[Any], values: list[Any]) -> Path:
    types = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}
    types |= {"int64": TensorProto.INT64, "bool": TensorProto.BOOL}

    def infos(tensors: tuple[TensorSpec, ...]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(t.name, types[t.dtype], list(t.axes)) for t in tensors]

    graph = helper.make_graph(nodes, spec.name, infos(spec.inputs), infos(spec.outputs), weights, value_info=values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=10)
    onnx.save(model, path)
    return path


HALVED = GraphSpec(
    name="halved",
    inputs=(TensorSpec(name="x", dtype=DType.FLOAT32, axes=("batch", 4)),),
    outputs=(TensorSpec(name="y", dtype=DType.FLOAT32, axes=("batch", 4)),),
    axis_ranges=BATCH,
    reuse=Reuse.IMAGE,
)


def halved(path: Path, weight: float = 1.0) -> Path:
    """(x * w) / 4, each halving in the body of one function, so its constant is there twice; returns `path`."""
    half = numpy_helper.from_array(np.float32(0.5), "half")
    body = [helper.make_node("Constant", [], ["half"], value=half), helper.make_node("Mul", ["a", "half"], ["b"])]
    function = helper.make_function("hyperseg", "Half", ["a"], ["b"], body, [helper.make_opsetid("", 24)])
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["scaled"], "scale"),
        helper.make_node("Half", ["scaled"], ["once"], "first", domain="hyperseg"),
        helper.make_node("Half", ["once"], ["y"], "second", domain="hyperseg"),
    ]
    weights = [numpy_helper.from_array(np.full(4, weight, np.float32), "w")]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("scaled", "once")]
    _saved(path, HALVED, nodes, weights, values)
    model = onnx.load(path)
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("hyperseg", 1))
    onnx.save(model, path)
    return path


def attending(heads: int, cache_heads: int, width: int, dtype: DType = DType.FLOAT16) -> GraphSpec:
    """Contract of one attention node over a cache of 12 slots."""

    def tensor(name: str, kind: DType, *axes: int | str) -> TensorSpec:
        return TensorSpec(name=name, dtype=kind, axes=axes)

    return GraphSpec(
        name="attending",
        inputs=(
            tensor("query", dtype, "batch", heads, 5, width),
            tensor("keys", dtype, "batch", cache_heads, 12, width),
            tensor("values", dtype, "batch", cache_heads, 12, width),
            tensor("mask", DType.BOOL, "batch", 1, 5, 12),
        ),
        outputs=(tensor("found", dtype, "batch", heads, 5, width),),
        axis_ranges=BATCH,
        reuse=Reuse.TOKEN,
    )


def attention(path: Path, spec: GraphSpec, inputs: int = 4, **attributes: float) -> Path:
    """The node, with as many of the contract's inputs as asked for; returns `path`."""
    names = spec.input_names()[:inputs]
    return _saved(path, spec, [helper.make_node("Attention", names, ["found"], "attend", **attributes)], [], [])
