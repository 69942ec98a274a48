"""One module per graph: its forward is what the GraphSpec says, and every weight has an origin."""

import functools
import inspect
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hyperseg_export.checkpoint.weights import checkpoint_shapes, materialise
from hyperseg_export.families.hyperseg.config import HypersegConfig
from hyperseg_export.families.hyperseg.graphs import GRAPH_MODULES, LmHead, MaskDecoderGraph, build_graph
from hyperseg_export.families.hyperseg.layout import Sizes
from hyperseg_export.families.hyperseg.random_models import random_model_of
from hyperseg_export.families.hyperseg.tiny import MADE, TINY
from hyperseg_export.model import SourceModel, table_name
from hyperseg_export.modules.constants import constants_of
from hyperseg_export.onnx.writer import TORCH_DTYPES
from hyperseg_export.parity.compare import worst_error
from hyperseg_export.parity.tolerances import FEATURE
from hyperseg_runtime.contracts.axes import size_of
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.families.hyperseg.published import PUBLISHED
from hyperseg_runtime.images.resize_tables import PASSES

PAPER = replace(TINY, gated_perceiver=True, prompt_frames=3, reidentification=True)
SIZES = {"tiny": TINY, "published": Sizes(), "as the paper": PAPER}
RESIZED = [image.name for image in PUBLISHED.encoder_images]
AXES = {"batch": 3, "tokens": 5, "conditions": 2, "memory_rows": 7, "image_height": 6, "image_width": 9}
AXES |= {"slots": 6, "pixels_height": 8, "pixels_width": 9, "rows": 10, "columns": 11}
AXES |= {f"{name}_{part}_taps": 4 for name in RESIZED for part in PASSES}
AXES |= {f"{name}_first_rows": 8 for name in RESIZED}


@functools.cache
def random_model(size: str) -> SourceModel:
    return random_model_of(SIZES[size], seed=0)


def spec_of(size: str, graph: str) -> GraphSpec:
    return next(spec for spec in random_model(size).specs if spec.name == graph)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("graph", GRAPH_MODULES)
def test_forward_gives_the_outputs_of_the_spec(size: str, graph: str) -> None:
    """Shapes only: the published model runs on the meta device in no time."""
    spec = spec_of(size, graph)
    shapes = {t.name: tuple(size_of(a, AXES) for a in t.axes) for t in (*spec.inputs, *spec.outputs)}
    inputs = [torch.empty(shapes[t.name], dtype=TORCH_DTYPES[t.dtype], device="meta") for t in spec.inputs]
    with torch.inference_mode():
        outputs = random_model(size).module(graph)(*inputs)
    tensors = (outputs,) if isinstance(outputs, Tensor) else outputs
    assert [tuple(tensor.shape) for tensor in tensors] == [shapes[t.name] for t in spec.outputs]
    assert [tensor.dtype for tensor in tensors] == [TORCH_DTYPES[t.dtype] for t in spec.outputs]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("graph", GRAPH_MODULES)
def test_arguments_are_named_as_the_inputs_of_the_spec(size: str, graph: str) -> None:
    parameters = inspect.signature(random_model(size).module(graph).forward).parameters.values()
    plain = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    names = spec_of(size, graph).input_names()
    assert names[: len(plain)] == plain
    assert (len(names) > len(plain)) == any(p.kind is p.VAR_POSITIONAL for p in parameters)


@pytest.mark.parametrize("graph", GRAPH_MODULES)
def test_every_parameter_has_an_origin_and_no_memory_yet(graph: str) -> None:
    model = random_model("tiny")
    module = model.module(graph)
    assert not module.training
    assert all(tensor.is_meta for tensor in (*module.parameters(), *module.buffers()))
    assert checkpoint_shapes([module]).keys() <= model.key_map.origins.keys()


def test_graphs_are_those_of_the_runtime_and_share_no_parameter() -> None:
    model = random_model("tiny")
    assert [spec.name for spec in model.specs] == list(GRAPH_MODULES)
    names = [name for graph in GRAPH_MODULES for name in checkpoint_shapes([model.module(graph)])]
    assert len(names) == len(set(names))
    assert set(names) | {table_name(name) for name in model.tables} == model.key_map.origins.keys()


def test_the_language_head_reads_the_row_it_is_told() -> None:
    config = HypersegConfig.from_checkpoint(TINY.config(), MADE.tensors(TINY, 0).shapes)
    head = LmHead(config.phi.width, config.logit_rows).requires_grad_(False)
    head.lm_head.weight.normal_()
    hidden = torch.randn(2, 3, config.phi.width)
    expected = torch.stack((hidden[0, 2], hidden[1, 0])) @ head.lm_head.weight
    assert worst_error(head(hidden, torch.tensor([2, 0])).numpy(), expected.numpy()) < FEATURE


def test_hidden_states_are_picked_and_averaged() -> None:
    """Rows of mask queries and memory, the mean of an instruction: hyperseg-spec 5.3."""
    model = random_model("tiny")
    spec, module = spec_of("tiny", "mask_decoder"), model.module("mask_decoder")
    decoder = materialise(module, model.weights.of_module(module))
    assert isinstance(decoder, MaskDecoderGraph)
    shapes = {t.name: tuple({**AXES, "batch": 1, "tokens": 30}.get(a, a) for a in t.axes) for t in spec.inputs}
    inputs = {name: torch.randn(shape) for name, shape in shapes.items()}
    inputs["query_rows"] = torch.arange(4, 14)[None]
    inputs["condition_spans"] = torch.tensor([[[20, 23], [29, 30]]])
    inputs["remembered_rows"] = torch.arange(15, 22)[None]
    hidden = inputs["hidden_states"][0]

    with torch.inference_mode():
        masks, scores, memory, class_scores, region_scores = decoder(*inputs.values())
        queries = decoder.query_projector(hidden[None, 4:14])
        conditions = torch.stack((hidden[20:23].mean(0), hidden[29]))[None]
        maps = list(inputs.values())
        _, normed = decoder.mask_decoder(queries, maps[4:7], maps[1:4])
        expected_scores = decoder.condition_score(normed, decoder.condition_projector(conditions))
        expected_class_scores = decoder.class_score(normed, decoder.class_projector(conditions))
        expected_region_scores = decoder.region_score(normed, decoder.region_projector(conditions))
        expected_masks = decoder.mask_decoder.mask_logits(normed, maps[0])

    assert worst_error(memory.numpy(), decoder.memory_projector(hidden[None, 15:22]).detach().numpy()) < FEATURE
    assert worst_error(scores.numpy(), expected_scores.numpy()) < FEATURE
    assert worst_error(class_scores.numpy(), expected_class_scores.numpy()) < FEATURE
    assert worst_error(region_scores.numpy(), expected_region_scores.numpy()) < FEATURE
    assert worst_error(masks.numpy(), expected_masks.numpy()) < FEATURE


@pytest.mark.parametrize("graph", GRAPH_MODULES)
def test_a_graph_can_be_built_on_its_own(graph: str) -> None:
    config = HypersegConfig.from_checkpoint(TINY.config(), MADE.tensors(TINY, 0).shapes)
    parts = dict(build_graph(graph, config).named_parameters())
    assert parts.keys() == dict(random_model("tiny").module(graph).named_parameters()).keys()


@pytest.mark.parametrize("graph", GRAPH_MODULES)
def test_every_buffer_of_a_graph_is_a_constant_equal_to_the_one_in_use(graph: str) -> None:
    config = HypersegConfig.from_checkpoint(TINY.config(), MADE.tensors(TINY, 0).shapes)
    in_use = dict(GRAPH_MODULES[graph](config).named_buffers())
    made = constants_of(build_graph(graph, config))
    assert made.keys() == in_use.keys()
    for name, make in made.items():
        assert torch.equal(make(), in_use[name]), name
