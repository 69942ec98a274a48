"""ONNX Runtime on the CPU: what goes in, what comes out, and where it lies in memory."""

import gc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper

from hyperseg_export.onnx.writer import IR_VERSION, OPSET
from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.backends.onnxruntime.backend import HostBuffer, OnnxRuntimeBackend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.graph_spec import AxisRange, DType, GraphSpec, Reuse, TensorSpec
from hyperseg_runtime.errors import BundleError, InputError, ResourceError
from hyperseg_runtime.session.pipeline import OpenedGraphs
from llm_steps import scored


def tensor(name: str, *axes: int | str, dtype: DType = DType.FLOAT32) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, axes=axes)


def add_spec(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> GraphSpec:
    axes = {axis for one in (*inputs, *outputs) for axis in one.axes if isinstance(axis, str)}
    ranges = {axis: AxisRange(minimum=1, typical=1, maximum=3) for axis in axes}
    return GraphSpec(name="add", inputs=inputs, outputs=outputs, axis_ranges=ranges, reuse=Reuse.IMAGE)


X, Y = tensor("x", "batch", 4), tensor("y", "batch", 4)
SPEC = add_spec((X,), (Y,))
STEPS = 1000
LEAK_BYTES = 20_000_000
"""One copy of the four caches per step would be 490 MB after 1,000 steps."""


@pytest.fixture
def inputs(graphs: OpenedGraphs, backend: OnnxRuntimeBackend) -> Callable[[int], dict[str, Buffer]]:
    """Makes the inputs of one step of the language model that writes slot `position`."""
    spec = graphs["llm"].spec
    caches = {name: backend.zeros(tensor_of(spec, name), {"batch": 1}) for name in spec.in_place.values()}
    random = np.random.default_rng(0)

    def make(position: int) -> dict[str, Buffer]:
        arrays = {
            "inputs_embeds": random.normal(size=(1, 1, 80)).astype(np.float32),
            "position_ids": np.array([[position]]),
            "attended_slots": np.array([[[[0, position + 1], [0, 0]]]]),
            "slot_numbers": np.arange(384),
            "write_indices": np.array([position]),
        }
        return {**{name: backend.upload(array) for name, array in arrays.items()}, **caches}

    return make


def test_caches_are_updated_where_they_lie(graphs: OpenedGraphs, inputs: Callable[[int], dict[str, Buffer]]) -> None:
    spec = graphs["llm"].spec
    places = {name: address(inputs(0)[name]) for name in spec.in_place.values()}
    for position in range(5):
        given = inputs(position)
        outputs = graphs["llm"].run(given)
        for output, source in spec.in_place.items():
            assert outputs[output] is given[source]
            assert address(outputs[output]) == places[source]
            written = np.abs(outputs[output].to_host()).sum((0, 1, 3)) > 0
            assert np.flatnonzero(written).tolist() == list(range(position + 1))


def test_many_steps_take_no_more_memory(graphs: OpenedGraphs, inputs: Callable[[int], dict[str, Buffer]]) -> None:
    process = psutil.Process()
    for position in range(20):
        graphs["llm"].run(inputs(position))
    before = process.memory_info().rss
    for step in range(STEPS):
        graphs["llm"].run(inputs(step % 384))
    assert process.memory_info().rss - before < LEAK_BYTES


def test_array_and_value_of_a_buffer_are_the_same_memory(graphs: OpenedGraphs, backend: OnnxRuntimeBackend) -> None:
    array = np.ones((1, 1, 80), np.float32)
    uploaded = backend.upload(array)
    assert uploaded.array is array
    output = graphs["lm_head"].run({**scored(backend, array), "hidden_states": uploaded})["logits"]
    for buffer in (uploaded, output, backend.zeros(SPEC.inputs[0], {"batch": 3})):
        assert isinstance(buffer, HostBuffer)
        assert buffer.array.ctypes.data == buffer.value.data_ptr()


def test_results_outlive_graph_and_backend(bundle: Bundle) -> None:
    def run() -> np.ndarray:
        with OnnxRuntimeBackend(1) as backend:
            graph = OpenedGraphs(bundle, backend)["lm_head"]
            return graph.run(scored(backend, np.ones((1, 1, 80), np.float32)))["logits"].to_host()

    first = run()
    kept = first.copy()
    gc.collect()
    second = run()
    assert np.array_equal(first, kept) and np.array_equal(second, kept)


def test_uploading_a_view_copies_it(backend: OnnxRuntimeBackend) -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    uploaded = backend.upload(array.T)
    assert uploaded.shape == (4, 3) and np.array_equal(uploaded.value.numpy(), array.T)
    assert not np.shares_memory(uploaded.array, array)


def test_zeros_have_the_shape_of_the_contract(backend: OnnxRuntimeBackend) -> None:
    buffer = backend.zeros(SPEC.inputs[0], {"batch": 3})
    assert buffer.shape == (3, 4) and buffer.dtype == np.float32 and not buffer.to_host().any()


def test_rows_are_copied_to_their_place(backend: OnnxRuntimeBackend) -> None:
    target = backend.upload(np.zeros((2, 5, 3), np.float32))
    source = backend.upload(np.arange(12, dtype=np.float32).reshape(2, 2, 3))
    backend.copy_rows(target, 1, 2, source, 1)
    expected = np.zeros((2, 5, 3))
    expected[1, 2:4] = source.to_host()[1]
    assert np.array_equal(target.value.numpy(), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs_embeds": None}, "inputs_embeds float32 (batch, tokens, 80) is missing"),
        ({"extra": np.zeros(1)}, "extra is not an input"),
        ({"position_ids": np.zeros((1, 1), np.int32)}, "got int32 (1, 1)"),
        ({"attended_slots": np.zeros((1, 1, 2), np.int64)}, "got int64 (1, 1, 2)"),
        ({"slot_numbers": np.arange(385)}, "axis slots of slot_numbers is 385, allowed 1..384"),
        ({"inputs_embeds": np.zeros((1, 80), np.float32)}, "got float32 (1, 80)"),
        ({"position_ids": np.zeros((1, 2), np.int64)}, "axis tokens is 1 in inputs_embeds but 2 in position_ids"),
        ({"inputs_embeds": np.zeros((9, 1, 80), np.float32)}, "axis batch of inputs_embeds is 9, allowed 1..8"),
        ({"inputs_embeds": np.zeros((1, 385, 80), np.float32)}, "axis tokens of inputs_embeds is 385, allowed 1..384"),
        ({"inputs_embeds": np.zeros((1, 0, 80), np.float32)}, "axis tokens of inputs_embeds is 0, allowed 1..384"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_before_anything_runs(
    graphs: OpenedGraphs,
    backend: OnnxRuntimeBackend,
    inputs: Callable[[int], dict[str, Buffer]],
    change: dict[str, np.ndarray | None],
    message: str,
) -> None:
    given = inputs(0)
    for name, array in change.items():
        if array is None:
            del given[name]
        else:
            given[name] = backend.upload(array)
    with pytest.raises(InputError) as caught:
        graphs["llm"].run(given)
    assert message in str(caught.value)
    assert not given["past_key.0"].to_host().any()


class Foreign:
    """A buffer that is fine but for where it lies."""

    dtype, shape = np.dtype(np.float32), (1, 1, 80)

    def to_host(self) -> np.ndarray:
        return np.zeros(self.shape, self.dtype)


def test_buffers_of_another_backend_are_refused(graphs: OpenedGraphs, backend: OnnxRuntimeBackend) -> None:
    with pytest.raises(InputError, match="hidden_states is not a buffer of this backend"):
        graphs["lm_head"].run({"hidden_states": Foreign(), "scored_rows": backend.upload(np.zeros(1, np.int64))})


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (add_spec((tensor("x", "batch", 5),), (Y,)), "says input ('x', <DType.FLOAT32: 'float32'>, ['batch', 5])"),
        (add_spec((tensor("x", "images", 4),), (tensor("y", "images", 4),)), "the ONNX file has ('x'"),
        (add_spec((tensor("z", "batch", 4),), (Y,)), "says input ('z'"),
        (add_spec((X,), (tensor("y", "batch", 4, dtype=DType.FLOAT16),)), "says output ('y', <DType.FLOAT16"),
        (add_spec((X,), (Y, tensor("w", "batch", 4))), "says output 2 outputs, the ONNX file has 1 outputs"),
    ],
)
def test_a_file_with_other_tensors_than_its_contract_is_refused(
    tmp_path: Path, backend: OnnxRuntimeBackend, other: GraphSpec, message: str
) -> None:
    path = model_file(tmp_path)
    assert backend.open(SPEC, path).spec == SPEC
    with pytest.raises(BundleError) as caught:
        backend.open(other, path)
    assert str(caught.value).startswith("graph add: the manifest ") and message in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x0a"])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, backend: OnnxRuntimeBackend, content: bytes) -> None:
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(BundleError, match=r"bad\.onnx: ONNX Runtime .* cannot open it"):
        backend.open(SPEC, tmp_path / "bad.onnx")


@pytest.mark.parametrize("location", ["../secret.bin", "{outside}", "link.bin", "none.bin"])
def test_weights_outside_the_bundle_are_not_read(tmp_path: Path, backend: OnnxRuntimeBackend, location: str) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(16))
    (tmp_path / "graphs").mkdir()
    (tmp_path / "graphs" / "link.bin").symlink_to(tmp_path / "secret.bin")
    path = model_file(tmp_path / "graphs", location.format(outside=tmp_path / "secret.bin"))
    with pytest.raises(BundleError, match="cannot open it"):
        backend.open(SPEC, path)


def test_memory_that_runs_out_in_a_graph_is_a_resource_error(tmp_path: Path, backend: OnnxRuntimeBackend) -> None:
    """16 TB for one result."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1 << 40, 4])
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [1 << 40, 4])
    graph = helper.make_graph([helper.make_node("Expand", ["x", "shape"], ["y"])], "big", [x], [y], [shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.save(model, tmp_path / "big.onnx")
    outputs = (TensorSpec(name="y", dtype=DType.FLOAT32, axes=(1 << 40, 4)),)
    opened = backend.open(SPEC.model_copy(update={"name": "big", "outputs": outputs}), tmp_path / "big.onnx")
    with pytest.raises(ResourceError, match="graph big: memory ran out"):
        opened.run({"x": backend.upload(np.ones((1, 4), np.float32))})


def test_threads_do_not_change_the_result(bundle: Bundle) -> None:
    found = []
    for threads in (1, 2, None):
        backend = OnnxRuntimeBackend(threads)
        graph = OpenedGraphs(bundle, backend)["clip_encoder"]
        images = np.random.default_rng(0).normal(size=(1, 3, 76, 76)).astype(np.float32)
        found.append(graph.run({"images_clip": backend.upload(images)})["image_tokens"].to_host())
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


def tensor_of(spec: GraphSpec, name: str) -> TensorSpec:
    return next(tensor for tensor in spec.inputs if tensor.name == name)


def address(buffer: Buffer) -> int:
    return buffer.to_host().ctypes.data


def model_file(folder: Path, weights_at: str | None = None) -> Path:
    """y = x + w, the four values of w inside the file or in another one."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, [4], bytes(16), raw=True)
    if weights_at:
        weights.ClearField("raw_data")
        weights.data_location = TensorProto.EXTERNAL
        for key, value in {"location": weights_at, "offset": "0", "length": "16"}.items():
            weights.external_data.add(key=key, value=value)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "add", [x], [y], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.save(model, folder / "add.onnx")
    return folder / "add.onnx"
