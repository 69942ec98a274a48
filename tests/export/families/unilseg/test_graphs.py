"""One module per graph: its forward is what the GraphSpec says, and every weight has an origin."""

import inspect
from pathlib import Path

import pytest
import torch

from hyperseg_export.checkpoint.weights import checkpoint_shapes
from hyperseg_export.export import write_graph
from hyperseg_export.families.unilseg.graphs import GRAPH_MODULES
from hyperseg_export.families.unilseg.layout import Sizes
from hyperseg_export.families.unilseg.tiny import TINY
from hyperseg_export.families.unilseg.tolerances import TOLERANCES
from hyperseg_export.onnx.writer import TORCH_DTYPES
from hyperseg_export.parity.bundle import module_of
from hyperseg_export.parity.compare import worst_error
from hyperseg_export.parity.entries import compare_graph
from hyperseg_export.parity.tolerances import FEATURE
from hyperseg_export.precision.typed import choose_precisions, typed_model
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.contracts.graph_spec import DType, GraphSpec
from hyperseg_runtime.contracts.precision import Precision
from unilseg_support import SMALL, planned

SIZES = {"tiny": TINY, "published": Sizes()}
BATCH = 3


def example(spec: GraphSpec, batch: int = BATCH) -> dict[str, torch.Tensor]:
    """Random inputs; sentences of 4 to 6 tokens."""
    generator = torch.Generator().manual_seed(0)
    given = {}
    for tensor in spec.inputs:
        shape = [batch if axis == "batch" else int(axis) for axis in tensor.axes]
        if tensor.dtype is DType.INT64:
            ids = torch.randint(1, 500, shape, generator=generator)
            ids[:, 0] = 510
            for row in range(batch):
                ids[row, 3 + row :] = 0
                ids[row, 3 + row] = 511
            given[tensor.name] = ids
        elif tensor.dtype is DType.BOOL:
            given[tensor.name] = torch.arange(shape[1])[None] < torch.arange(4, 4 + batch)[:, None]
        else:
            given[tensor.name] = torch.randn(shape, generator=generator)
    return given


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("graph", GRAPH_MODULES)
def test_forward_gives_the_outputs_of_the_spec(size: str, graph: str) -> None:
    """Shapes only: the published model runs on the meta device in no time."""
    model = planned(SIZES[size])
    spec = model.spec(graph)
    shapes = {t.name: tuple(BATCH if a == "batch" else a for a in t.axes) for t in (*spec.inputs, *spec.outputs)}
    inputs = [torch.empty(shapes[t.name], dtype=TORCH_DTYPES[t.dtype], device="meta") for t in spec.inputs]
    with torch.inference_mode():
        outputs = model.module(graph)(*inputs)
    assert [tuple(tensor.shape) for tensor in outputs] == [shapes[t.name] for t in spec.outputs]
    assert [tensor.dtype for tensor in outputs] == [TORCH_DTYPES[t.dtype] for t in spec.outputs]


@pytest.mark.parametrize("graph", GRAPH_MODULES)
def test_arguments_are_named_as_the_inputs_of_the_spec(graph: str) -> None:
    parameters = list(inspect.signature(GRAPH_MODULES[graph].forward).parameters)[1:]
    assert planned(TINY).spec(graph).input_names() == parameters


def test_graphs_are_those_of_the_runtime_and_share_no_parameter() -> None:
    model = planned(TINY)
    assert [spec.name for spec in model.specs] == list(GRAPH_MODULES)
    names = [name for graph in GRAPH_MODULES for name in checkpoint_shapes([model.module(graph)])]
    assert len(names) == len(set(names))
    assert set(names) == model.key_map.origins.keys()


@pytest.mark.parametrize("graph", GRAPH_MODULES)
def test_padding_and_other_rows_of_a_batch_change_nothing(graph: str) -> None:
    """What a sample gives does not depend on its neighbours, nor on what stands where padding is."""
    model = planned(SMALL)
    spec, module = model.spec(graph), module_of(model, graph)
    inputs = example(spec)
    with torch.inference_mode():
        together = module(*inputs.values())
        alone = module(*(value[1:2] for value in inputs.values()))
        for found, expected in zip(alone, together, strict=True):
            assert worst_error(found.numpy(), expected[1:2].numpy()) < FEATURE
        if graph == "mask_decoder":
            inputs["word_states"][~inputs["word_mask"]] = 1e3
            for found, expected in zip(module(*inputs.values()), together, strict=True):
                assert worst_error(found.numpy(), expected.numpy()) < FEATURE


def test_a_word_changes_the_mask() -> None:
    """The test above would pass if words were not read at all."""
    model = planned(SMALL)
    module, inputs = module_of(model, "mask_decoder"), example(model.spec("mask_decoder"))
    with torch.inference_mode():
        before, _ = module(*inputs.values())
        inputs["word_states"][0, 1] += 1
        after, _ = module(*inputs.values())
    assert worst_error(after[0].numpy(), before[0].numpy()) > 100 * FEATURE
    assert worst_error(after[1:].numpy(), before[1:].numpy()) == 0


@pytest.mark.full
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
def test_written_graphs_compute_what_their_modules_do(precision: Precision, tmp_path: Path) -> None:
    """Each passes the lint on the way; half precision is measured against float32."""
    model = planned(SMALL)
    typed = typed_model(model, choose_precisions(model.specs, precision))
    with OnnxRuntimeBackend() as backend:
        for spec in typed.specs:
            files, _ = write_graph(typed, spec, tmp_path, {}, precision)
            inputs = {name: tensor.numpy() for name, tensor in example(spec).items()}
            opened = backend.open(spec, tmp_path / files[0])
            made = opened.run({name: backend.upload(array) for name, array in inputs.items()})
            found = {name: buffer.to_host() for name, buffer in made.items()}
            with torch.inference_mode():
                outputs = module_of(model, spec.name)(*map(torch.from_numpy, inputs.values()))
            expected = {name: tensor.numpy() for name, tensor in zip(spec.output_names(), outputs, strict=True)}
            entries = list(compare_graph(spec.name, precision, found, expected, "onnxruntime", TOLERANCES))
            assert entries
            assert [entry for entry in entries if not entry.passed] == []


@pytest.mark.full
def test_bf16_graphs_are_written(tmp_path: Path) -> None:
    """ONNX Runtime's CPU provider cannot run them: their modules are measured instead."""
    model = planned(SMALL)
    typed = typed_model(model, choose_precisions(model.specs, Precision.BF16))
    for spec in typed.specs:
        write_graph(typed, spec, tmp_path, {}, Precision.BF16)
        inputs = example(spec)
        arrays = []
        for source in (typed, model):
            with torch.inference_mode():
                outputs = module_of(source, spec.name)(*inputs.values())
            arrays.append({n: x.float().numpy() for n, x in zip(spec.output_names(), outputs, strict=True)})
        entries = list(compare_graph(spec.name, Precision.BF16, *arrays, "torch", TOLERANCES))
        assert [entry for entry in entries if not entry.passed] == []
