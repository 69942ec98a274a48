"""What the options of a session on a CPU bring: memory that stays in files or is given back, S8 graphs that fuse."""

import ctypes
import gc
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from hyperseg_export.onnx.writer import IR_VERSION, OPSET
from hyperseg_runtime.backends.onnxruntime import cpu_defaults
from hyperseg_runtime.backends.onnxruntime.backend import OnnxRuntimeBackend
from hyperseg_runtime.backends.onnxruntime.cpu_defaults import session_options, weight_bytes
from hyperseg_runtime.contracts.graph_spec import AxisRange, DType, GraphSpec, Reuse, TensorSpec

WIDTH = 3072  # 38 MB of weights: from 32 MB on the C library never takes memory that was given back
WEIGHT_BYTES = WIDTH * WIDTH * 4
ROWS = 4096
SPEC = GraphSpec(
    name="product",
    inputs=(TensorSpec(name="x", dtype=DType.FLOAT32, axes=("rows", WIDTH)),),
    outputs=(TensorSpec(name="y", dtype=DType.FLOAT32, axes=("rows", 1)),),
    axis_ranges={"rows": AxisRange(minimum=1, typical=1, maximum=ROWS)},
    reuse=Reuse.PROMPT,
)


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """y = the sum over a row of x times 16 MB of weights, which lie in a file beside the graph."""
    path = tmp_path_factory.mktemp("graphs") / "product.onnx"
    weights = numpy_helper.from_array(np.ones((WIDTH, WIDTH), np.float32), "w")
    axes = numpy_helper.from_array(np.array([1]), "axes")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["wide"]), helper.make_node("ReduceSum", ["wide", "axes"], ["y"])]
    onnx.save(model(nodes, ["rows", WIDTH], ["rows", 1], [weights, axes]), path, save_as_external_data=True,
              location="product.data")  # fmt: skip
    return path


def model(
    nodes: list[onnx.NodeProto], x: list[int | str], y: list[int | str], initializers: list[onnx.TensorProto]
) -> onnx.ModelProto:
    inputs, outputs = ([helper.make_tensor_value_info(n, TensorProto.FLOAT, s)] for n, s in (("x", x), ("y", y)))
    graph = helper.make_graph(nodes, "made", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def anonymous_bytes() -> int:
    """Memory that is no page of a file. What tests of before have freed goes back first: else it is taken again, and
    nothing grows.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    found = psutil.Process().memory_info()
    return int(found.rss - found.shared)


@pytest.mark.slow
@pytest.mark.skipif(not psutil.LINUX, reason="only Linux tells pages of files from other memory")
@pytest.mark.parametrize(
    ("mapped_from", "low_memory", "copied"), [(1, False, 0), (1 << 40, True, 0), (1 << 40, False, 1)]
)
def test_large_weights_stay_in_their_file(
    product: Path, monkeypatch: pytest.MonkeyPatch, mapped_from: int, low_memory: bool, copied: int
) -> None:
    monkeypatch.setattr(cpu_defaults, "MAP_FROM_BYTES", mapped_from)
    backend = OnnxRuntimeBackend(1, low_memory=low_memory)
    x = backend.upload(np.ones((1, WIDTH), np.float32))
    opened, taken = [], list[int]()
    for _ in range(3):  # a copy may go where other tests left room; it has to stay, so the next one cannot
        before = anonymous_bytes()
        opened.append(backend.open(SPEC, product))
        y = opened[-1].run({"x": x})["y"].to_host()
        taken.append(anonymous_bytes() - before)
        assert y.item() == WIDTH * WIDTH
    assert abs(max(taken) - copied * WEIGHT_BYTES) < WEIGHT_BYTES / 2


@pytest.mark.slow
@pytest.mark.skipif(not psutil.LINUX, reason="only Linux tells pages of files from other memory")
@pytest.mark.parametrize(
    ("reuse", "low_memory", "kept"), [(Reuse.IMAGE, False, 0), (Reuse.PROMPT, True, 0), (Reuse.PROMPT, False, 1)]
)
def test_a_graph_of_an_image_gives_its_memory_back(product: Path, reuse: Reuse, low_memory: bool, kept: int) -> None:
    """32 MB between the two nodes."""
    backend = OnnxRuntimeBackend(1, low_memory=low_memory)
    x = backend.upload(np.ones((ROWS, WIDTH), np.float32))
    graph = backend.open(SPEC.model_copy(update={"reuse": reuse}), product)
    graph.run({"x": backend.upload(np.ones((1, WIDTH), np.float32))})
    before = anonymous_bytes()
    graph.run({"x": x})
    taken, between = anonymous_bytes() - before, ROWS * WIDTH * 4
    assert taken < between / 2 if not kept else taken > between / 2


def test_products_of_s8_values_are_fused(tmp_path: Path) -> None:
    """Two products with Q/DQ pairs around a reshape; without the option the first one rounds its result to 8 bits."""
    width = 64
    weights = np.random.default_rng(0).integers(-127, 128, (width, width)).astype(np.int8)
    arrays = {
        "scale": np.float32(0.02), "zero": np.int8(0), "a_w": weights, "b_w": weights,
        "w_scale": np.full(width, 0.01, np.float32), "shape": np.array([1, 4, width]),
    }  # fmt: skip
    nodes = []
    for source, name in (("x", "a"), ("reshaped", "b")):
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_w", "w_scale"], [f"{name}_wide"], axis=1))
        nodes.append(helper.make_node("QuantizeLinear", [source, "scale", "zero"], [f"{name}_s8"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_s8", "scale", "zero"], [name]))
        nodes.append(helper.make_node("MatMul", [name, f"{name}_wide"], ["m" if name == "a" else "y"]))
        if name == "a":
            nodes.append(helper.make_node("Reshape", ["m", "shape"], ["reshaped"]))
    initializers = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    path, optimised = tmp_path / "s8.onnx", tmp_path / "optimised.onnx"
    onnx.save(model(nodes, [1, 4, width], [1, 4, width], initializers), path)
    options = session_options(weight_bytes(path), 1, (), low_memory=False)
    options.optimized_model_filepath = str(optimised)
    options.log_severity_level = 4
    ort.InferenceSession(path, options, providers=cpu_defaults.PROVIDERS)
    found = Counter(node.op_type for node in onnx.load(optimised).graph.node)
    assert found["MatMulIntegerToFloat"] == 2 and not found["MatMul"] + found["QLinearMatMul"]


def test_a_relu_before_eight_bits_stays(tmp_path: Path) -> None:
    """e4m3 has numbers below zero, whatever its zero point is."""
    scale = numpy_helper.from_array(np.float32(0.01), "scale")
    zero = helper.make_tensor("zero", onnx.TensorProto.FLOAT8E4M3FN, [], [0])
    nodes = [
        helper.make_node("Relu", ["x"], ["positive"]),
        helper.make_node("QuantizeLinear", ["positive", "scale", "zero"], ["rounded"]),
        helper.make_node("DequantizeLinear", ["rounded", "scale", "zero"], ["y"]),
    ]
    path = tmp_path / "relu.onnx"
    onnx.save(model(nodes, [2], [2], [scale, zero]), path)
    options = session_options(weight_bytes(path), 1, (), low_memory=False)
    session = ort.InferenceSession(path, options, providers=cpu_defaults.PROVIDERS)
    (found,) = session.run(None, {"x": np.array([-1, 1], np.float32)})
    assert found[0] == 0 and found[1] == pytest.approx(1, abs=0.05)
