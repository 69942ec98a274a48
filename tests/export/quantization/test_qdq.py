"""Rounded graphs give nearly what they gave, in the forms that runtimes know."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from hyperseg_export.onnx.weight_store import WeightStore
from hyperseg_export.onnx.writer import save_graph
from hyperseg_export.parity.compare import cosine_distance
from hyperseg_export.quantization.layers import layers_of
from hyperseg_export.quantization.magnitudes import Magnitudes
from hyperseg_export.quantization.qdq import LayerRecipe, products, quantise
from hyperseg_export.quantization.smoothing import smooth
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.contracts.quantization import Scheme

X = np.random.default_rng(3).normal(size=(2, 3, 64)).astype(np.float32)
RANGES = {"normed": 8.0, "g": 60.0}
DISTANCE = {
    Scheme.INT8: 1e-3,
    Scheme.FP8: 3e-3,
    Scheme.INT4: 2e-2,
    Scheme.INT8_WEIGHTS: 1e-4,
    Scheme.INT8_DYNAMIC: 1e-3,
}
"""Steps of a 7th of the largest of 32 normal numbers lose 0.005 in each of two layers; 8 bits a 300th of that."""


def run(model: ir.Model, folder: Path, emulated: bool = False, **extra: str) -> np.ndarray:
    path = folder / "net.onnx"
    with WeightStore(folder, {}).open("net.data") as weights:
        save_graph(model, path, weights)
    onnx.checker.check_model(path, full_check=True)
    options = OnnxRuntimeBackend(threads=1, emulated=emulated).session_options()
    (found,) = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run(None, {"x": X})
    return np.asarray(found)


@pytest.fixture
def before(model: ir.Model, tmp_path: Path) -> np.ndarray:
    (tmp_path / "before").mkdir()
    return run(model.clone(), tmp_path / "before")


@pytest.mark.parametrize("scheme", Scheme)
def test_every_scheme_gives_about_the_same(model: ir.Model, before: np.ndarray, tmp_path: Path, scheme: Scheme) -> None:
    done = quantise(model, LayerRecipe(scheme, block=32), RANGES)
    assert done.layers == ("a", "b", "c") and not done.left_wide and products(model) == 3
    distance = cosine_distance(run(model, tmp_path, emulated=scheme is Scheme.FP8), before)
    assert 0 < distance < DISTANCE[scheme]


def test_four_bits_take_four_bits_of_the_file(model: ir.Model, tmp_path: Path) -> None:
    quantise(model, LayerRecipe(Scheme.INT4, block=32), {})
    run(model, tmp_path)
    stored = {t.name: t for t in onnx.load(tmp_path / "net.onnx", load_external_data=False).graph.initializer}
    length = {entry.key: entry.value for entry in stored["a"].external_data}["length"]
    assert int(length) == 64 * 32 // 2 and stored["a"].data_type == onnx.TensorProto.INT4


@pytest.mark.parametrize("scheme", [Scheme.INT8, Scheme.FP8])
def test_a_convolution_is_rounded_by_channel(tmp_path: Path, scheme: Scheme) -> None:
    """ONNX Runtime computes it from rounded floats, on every processor."""
    random = np.random.default_rng(5)
    weight = ir.tensor(
        (random.normal(size=(6, 3, 2, 2)) * np.logspace(0, 3, 6)[:, None, None, None]).astype(np.float32)
    )
    x = ir.Value(name="x", shape=ir.Shape([2, 3, 64]), type=ir.TensorType(ir.DataType.FLOAT))
    y = ir.Value(name="y", shape=ir.Shape([2, 6, 4, 4]), type=ir.TensorType(ir.DataType.FLOAT))
    kernel = ir.Value(name="kernel", shape=weight.shape, type=ir.TensorType(ir.DataType.FLOAT), const_value=weight)
    shape_of = ir.tensor(np.array([2, 3, 8, 8]), name="shape")
    shape = ir.Value(name="shape", shape=shape_of.shape, type=ir.TensorType(ir.DataType.INT64), const_value=shape_of)
    square = ir.Node("", "Reshape", [x, shape], name="net/square")
    square.outputs[0].name, square.outputs[0].shape = "squared", ir.Shape([2, 3, 8, 8])
    square.outputs[0].dtype = ir.DataType.FLOAT
    conv = ir.Node(
        "", "Conv", [square.outputs[0], kernel], [ir.AttrInt64s("strides", [2, 2])], outputs=[y], name="net.conv/node"
    )
    graph = ir.Graph([x], [y], nodes=[square, conv], initializers=[kernel, shape], opset_imports={"": 24}, name="net")
    made = ir.Model(graph, ir_version=10)
    (tmp_path / "before").mkdir()
    before = run(made.clone(), tmp_path / "before")
    assert quantise(made, LayerRecipe(scheme), {"squared": 4.0}).layers == ("kernel",)
    after = run(made, tmp_path, emulated=scheme is Scheme.FP8)
    assert max(cosine_distance(after[:, c], before[:, c]) for c in range(6)) < DISTANCE[scheme]


def test_what_is_left_out_says_why(model: ir.Model) -> None:
    done = quantise(model, LayerRecipe(Scheme.INT8, skip={"^a$": "a reason"}), {"normed": 0.0})
    assert done.layers == ()
    assert done.left_wide == {
        "a": "a reason",
        "b": "its inputs were all zero in calibration",
        "c": "no calibration request reached it",
    }


def test_inputs_that_no_block_divides_stay(model: ir.Model) -> None:
    model.graph.initializers["c"].const_value = ir.tensor(np.zeros((33, 64), np.float32))
    model.graph.initializers["c"].shape = ir.Shape([33, 64])
    done = quantise(model, LayerRecipe(Scheme.INT4), {})
    assert done.layers == ("a", "b") and "multiple of 32" in done.left_wide["c"]


def test_a_weight_that_something_else_reads_is_no_layer(model: ir.Model) -> None:
    model.graph.append(ir.Node("", "Abs", [model.graph.initializers["a"]]))
    assert [layer.name for layer in layers_of(model)] == ["b", "c"]


def test_smoothing_changes_nothing_but_what_is_hard_to_round(model: ir.Model, tmp_path: Path) -> None:
    scale = model.graph.initializers["scale"]
    assert scale.const_value is not None
    uneven = scale.const_value.numpy().copy()
    uneven[7] = 90.0
    scale.const_value = ir.tensor(uneven)
    (tmp_path / "before").mkdir()
    before = run(model.clone(), tmp_path / "before")
    normed = np.abs(uneven) * 3
    observed = {"normed": Magnitudes.of(normed[None], normed)}
    changed = smooth(model, observed, frozenset())
    assert set(changed) == {"normed"} and changed["normed"] < normed.max() / 4
    smoothed = run(model.clone(), tmp_path)
    assert np.allclose(smoothed, before, rtol=1e-4, atol=1e-4)  # powers of two: only the order of sums


def test_smoothing_keeps_a_norm_of_a_layer_that_stays(model: ir.Model) -> None:
    sizes = np.ones(64, np.float32)
    assert smooth(model, {"normed": Magnitudes.of(sizes, sizes)}, frozenset({"a"})) == {}


@pytest.mark.parametrize("scheme", Scheme)
def test_products_may_share_a_weight(model: ir.Model, tmp_path: Path, scheme: Scheme) -> None:
    """Its bytes are in the file once."""
    left, right = (node for node in model.graph if node.name in ("net.a/node", "net.b/node"))
    weight = left.inputs[1]
    right.replace_input_with(1, weight)
    del model.graph.initializers["b"]
    (tmp_path / "before").mkdir()
    before = run(model.clone(), tmp_path / "before")
    done = quantise(model, LayerRecipe(scheme, block=32), RANGES)
    assert done.layers == ("a", "c") and products(model) == 3
    assert cosine_distance(run(model, tmp_path, emulated=scheme is Scheme.FP8), before) < DISTANCE[scheme]
    stored = onnx.load(tmp_path / "net.onnx", load_external_data=False).graph.initializer
    places = {t.name: {entry.key: entry.value for entry in t.external_data} for t in stored if t.external_data}
    assert places["a"] == places["a.1"]
