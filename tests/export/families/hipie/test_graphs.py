"""One module per graph: its forward is what the GraphSpec says."""

import inspect

import pytest
import torch

from hipie_support import published, published_config, published_vit
from hyperseg_export.checkpoint.weights import checkpoint_shapes
from hyperseg_export.families.hipie.graphs import GRAPHS, build_graph
from hyperseg_export.onnx.writer import TORCH_DTYPES
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
