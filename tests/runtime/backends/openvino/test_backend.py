"""OpenVINO on the CPU: the same numbers, the same memory, and what it leaves to ONNX Runtime."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hyperseg_export.parity.compare import mask_disagreement
from hyperseg_export.parity.tolerances import MASK_IOU
from hyperseg_runtime.backends.onnxruntime.backend import OnnxRuntimeBackend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.errors import BundleError, EnvironmentMissingError, InputError, Notice
from hyperseg_runtime.session.pipeline import OpenedGraphs
from support import RunCli

pytest.importorskip("openvino", reason="the extra openvino is not installed")

from hyperseg_runtime.backends.openvino import library
from hyperseg_runtime.backends.openvino.backend import OpenVinoBackend, OpenVinoGraph, why_not

CLOSE = 2e-5
"""Of the range: the same float32 products in another order."""


@pytest.fixture
def openvino() -> Iterator[OpenVinoBackend]:
    with OpenVinoBackend(threads=1) as backend:
        yield backend


def inputs_of(backend: OnnxRuntimeBackend, graph: Any, batch: int) -> dict[str, Any]:
    """Random ones; what is attended to is everything, and spans hold all rows."""
    random = np.random.default_rng(0)
    made = {}
    for tensor in graph.spec.inputs:
        shape = tensor.shape({axis: batch if axis == "batch" else 3 for axis in graph.spec.axis_ranges})
        if tensor.dtype == "float32":
            values = random.normal(size=shape).astype(np.float32)
        else:
            values = np.broadcast_to((0, 3), shape) if tensor.axes[-1] == 2 else np.ones(shape)
        made[tensor.name] = backend.upload(values.astype(str(tensor.dtype)))
    return made


@pytest.mark.parametrize("name", ["clip_encoder", "pixel_decoder", "mask_decoder"])
def test_graphs_give_what_onnx_runtime_gives(bundle: Bundle, openvino: OpenVinoBackend, name: str) -> None:
    """One row, then two of them: axes stay open. The pixel decoder holds our operator."""
    reference = OpenedGraphs(bundle, OnnxRuntimeBackend(1))[name]
    graph = OpenedGraphs(bundle, openvino)[name]
    assert isinstance(graph, OpenVinoGraph)
    for batch in (1, 2):
        inputs = inputs_of(openvino, graph, batch)
        expected = reference.run(inputs)
        for output, found in graph.run(inputs).items():
            wanted = expected[output].to_host()
            assert found.shape == wanted.shape and found.dtype == wanted.dtype
            assert np.abs(found.to_host() - wanted).max() <= CLOSE * np.ptp(wanted), (output, batch)


def test_results_are_their_own_memory_which_onnx_runtime_takes_as_it_is(
    bundle: Bundle, openvino: OpenVinoBackend
) -> None:
    graph = OpenedGraphs(bundle, openvino)["clip_encoder"]
    inputs = inputs_of(openvino, graph, 1)
    first = graph.run(inputs)["image_tokens"]
    kept = first.to_host().copy()
    second = graph.run({name: openvino.upload(-buffer.to_host()) for name, buffer in inputs.items()})["image_tokens"]
    assert np.array_equal(first.to_host(), kept) and not np.array_equal(second.to_host(), kept)
    assert first.value.data_ptr() == first.array.ctypes.data  # type: ignore[attr-defined]


def test_a_graph_with_caches_is_run_by_onnx_runtime_and_said_so(bundle: Bundle, openvino: OpenVinoBackend) -> None:
    with pytest.warns(Notice, match="graph llm: run by ONNX Runtime, because OpenVINO has no operator that updates"):
        assert not isinstance(OpenedGraphs(bundle, openvino)["llm"], OpenVinoGraph)
    assert why_not(bundle.manifest.graph("pixel_decoder").spec) is None
    assert "MaskReadout" in str(why_not(bundle.manifest.graph("mask_readout").spec))


def test_samples_that_are_no_numbers_count_as_nothing(bundle: Bundle, openvino: OpenVinoBackend) -> None:
    """What the definition of the operator says of NaN, infinite and far away places."""
    from openvino import Model
    from openvino import opset13 as ops

    from hyperseg_kernels.deformable_attention import openvino_op

    class Node:
        """The context of an ONNX node, as a converter sees it."""

        def __init__(self, inputs: list[Any]) -> None:
            self._inputs = inputs

        def get_input(self, index: int) -> Any:
            return self._inputs[index].output(0)

        def get_attribute(self, name: str) -> list[int]:
            return {"level_shapes": [2, 3, 1, 2]}[name]

    shapes = [(1, 8, 1, 4), (1, 1, 1, 2, 4, 2), (1, 1, 1, 2, 4)]
    parameters = [ops.parameter(shape, np.float32) for shape in shapes]
    compiled = openvino._core.compile_model(
        Model(openvino_op.deformable_attention(Node(parameters)), parameters), "CPU"
    )
    places = np.full(shapes[1], 0.5, np.float32)
    weights = np.ones(shapes[2], np.float32)
    for number, place in enumerate((np.nan, np.inf, -np.inf, -7.0)):
        places[..., number, 0] = place
    found = compiled([np.ones(shapes[0], np.float32), places, weights])[0]
    assert np.array_equal(found, np.zeros((1, 1, 4)))
    places[..., 0, 0] = 0.5
    assert np.allclose(compiled([np.ones(shapes[0], np.float32), places, weights])[0], 2.0)  # one of each level


def test_masks_in_float32_differ_by_rounding_alone(
    run_cli: RunCli, tiny_bundle: Path, coffee: Path, tmp_path: Path
) -> None:
    for backend in ("onnxruntime", "openvino"):
        done = run_cli("run", tiny_bundle, coffee, "the cup", "--out", tmp_path / backend, "--backend", backend)
        assert done.code == 0, done.err
    assert "warning: graph llm: run by ONNX Runtime" in done.err
    masks = [Image.open(tmp_path / backend / "coffee.jpg.mask.png") for backend in ("onnxruntime", "openvino")]
    assert mask_disagreement(*map(np.asarray, masks), 1) <= MASK_IOU["fp32"]


def test_bf16_is_never_imitated(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        def get_property(self, device: str, name: str) -> object:
            return ["FP32", "INT8"] if name == "OPTIMIZATION_CAPABILITIES" else "Old CPU"

    with pytest.raises(EnvironmentMissingError, match=r"\(Old CPU\) has no instructions for it, it has FP32, INT8"):
        library.require_bf16(Old())


def test_what_cannot_be_opened_is_refused(bundle: Bundle, openvino: OpenVinoBackend, tmp_path: Path) -> None:
    entry, other = (bundle.manifest.graph(name) for name in ("clip_encoder", "mask_decoder"))
    with pytest.raises(
        BundleError, match="graph clip_encoder: the manifest says inputs images_clip, the ONNX file has"
    ):
        openvino.open(entry.spec, bundle.path(other.file))
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(BundleError, match=r"bad.onnx: OpenVINO .* cannot open it"):
        openvino.open(entry.spec, tmp_path / "bad.onnx")
    graph = OpenedGraphs(bundle, openvino)["clip_encoder"]
    with pytest.raises(InputError, match=r"images_clip .* is missing"):
        graph.run({})
