"""One module per graph: its forward is what the GraphSpec says."""

import inspect
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hipie_support import published, published_config, published_vit
from hyperseg_export.checkpoint.weights import checkpoint_shapes, materialise
from hyperseg_export.export import write_graph
from hyperseg_export.families.hipie.graphs import GRAPHS, build_graph
from hyperseg_export.families.hipie.layout import VitSizes
from hyperseg_export.families.hipie.random_models import random_model_of
from hyperseg_export.families.hipie.tiny import TINY
from hyperseg_export.onnx.writer import TORCH_DTYPES
from hyperseg_export.parity.compare import worst_error
from hyperseg_export.parity.tolerances import FEATURE
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.families.hipie.spec import graph_specs

MODELS = {"r50": published, "vit": published_vit}
SIZES = {
    "batch": 2, "height": 1088, "width": 1536, "rows": 136, "columns": 192, "words": 309, "kept": 7,
}  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("graph", GRAPHS)
def test_forward_gives_the_outputs_of_the_spec(model: str, graph: str) -> None:
    """Shapes only: the published model runs on the meta device in no time."""
    config = published_config(MODELS[model]())
    (spec,) = (spec for spec in graph_specs(config.dimensions()) if spec.name == graph)
    inputs = [torch.empty(t.shape(SIZES), dtype=TORCH_DTYPES[t.dtype], device="meta") for t in spec.inputs]
    with torch.inference_mode():
        made = build_graph(graph, config)(*inputs)
    outputs = (made,) if isinstance(made, torch.Tensor) else made
    assert [tuple(tensor.shape) for tensor in outputs] == [tensor.shape(SIZES) for tensor in spec.outputs]
    assert [tensor.dtype for tensor in outputs] == [TORCH_DTYPES[tensor.dtype] for tensor in spec.outputs]


def test_arguments_are_named_as_the_inputs_of_the_spec() -> None:
    specs = {spec.name: spec for spec in graph_specs(published_config().dimensions())}
    assert list(specs) == list(GRAPHS)
    for name, graph in GRAPHS.items():
        assert specs[name].input_names() == list(inspect.signature(graph.forward).parameters)[1:]


def test_graphs_share_no_parameter() -> None:
    names = [name for graph in GRAPHS for name in checkpoint_shapes([build_graph(graph, published_config())])]
    assert len(names) == len(set(names))


@pytest.mark.slow
def test_a_plain_backbone_becomes_a_graph_that_passes_the_lint(tmp_path: Path) -> None:
    """Whole blocks and blocks of windows, and positions at the image's size, for engines too."""
    small = VitSizes(width=64, heads=4, mlp_width=96, grid=4, window=3, depth=3, table_side=8, fine_channels=32)
    model = random_model_of(replace(TINY, backbone=small), seed=0)
    (spec,) = (spec for spec in model.specs if spec.name == "image")
    write_graph(model, spec, tmp_path, {})
    sizes = {"batch": 1, "height": 160, "width": 224}
    images = torch.randn(next(iter(spec.inputs)).shape(sizes))
    module = model.module("image")
    materialise(module, model.weights.of_module(module))
    with torch.inference_mode():
        expected = module(images)
    with OnnxRuntimeBackend(threads=1) as backend:
        graph = backend.open(spec, tmp_path / "graphs" / "image.onnx")
        made = graph.run({"images": backend.upload(images.numpy())})
        for name, tensor in zip(spec.output_names(), expected, strict=True):
            assert worst_error(made[name].to_host(), tensor.numpy()) <= FEATURE
