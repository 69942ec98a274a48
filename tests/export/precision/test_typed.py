"""The plan of a preset, and what it does to a module."""

import functools

import pytest
import torch
from torch import Tensor, nn

from hyperseg_export.families.hyperseg.graphs import GRAPH_MODULES
from hyperseg_export.families.hyperseg.plan import plan
from hyperseg_export.families.hyperseg.tiny import TINY, random_checkpoint
from hyperseg_export.model import PlannedModel, plan_model
from hyperseg_export.modules.phi import CacheAttention, WrittenOutAttention
from hyperseg_export.onnx.writer import TORCH_DTYPES
from hyperseg_export.precision.typed import ISLANDS, PRESETS, island_paths, make_plan, typed_model
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.errors import ExportError, InputError

LOW = [Precision.FP16, Precision.BF16]


@functools.cache
def model() -> PlannedModel:
    source = random_checkpoint(TINY, seed=0)
    return plan_model("hyperseg", plan(TINY.config(), source.shapes), source, {"seg": 1, "eos": 0})


@functools.cache
def typed(precision: Precision) -> PlannedModel:
    return typed_model(model(), make_plan(model().specs, precision))


def test_mixed_has_the_language_model_in_bf16_and_the_rest_in_fp16() -> None:
    graphs = make_plan(model().specs, "mixed").graphs
    assert {name for name, precision in graphs.items() if precision is Precision.BF16} == {"llm", "lm_head"}
    assert set(graphs.values()) == set(LOW)


@pytest.mark.parametrize("preset", ["fp32", "fp16", "bf16"])
def test_a_plain_preset_is_one_precision_everywhere(preset: str) -> None:
    assert set(make_plan(model().specs, preset).graphs.values()) == {Precision(preset)}


def test_a_graph_can_be_overridden() -> None:
    graphs = make_plan(model().specs, "mixed", {"llm": "fp32"}).graphs
    assert graphs["llm"] is Precision.FP32 and graphs["lm_head"] is Precision.BF16


@pytest.mark.parametrize(
    ("preset", "overrides", "message"),
    [
        ("int8", {}, "choose fp32, fp16, bf16, mixed"),
        ("mixed", {"decoder": "fp16"}, "graphs are image_encoder, clip_encoder"),
        ("mixed", {"llm": "fp8"}, "graph llm: unknown precision 'fp8'; choose fp32, fp16, bf16"),
    ],
)
def test_what_does_not_exist_is_refused(preset: str, overrides: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_plan(model().specs, preset, overrides)


@pytest.mark.parametrize("precision", LOW)
@pytest.mark.parametrize("graph", GRAPH_MODULES)
def test_forward_gives_the_types_of_the_contract(graph: str, precision: Precision) -> None:
    """On the meta device; a pair of operands that PyTorch does not promote raises."""
    spec = typed(precision).spec(graph)
    axes = {"batch": 3, "tokens": 5, "conditions": 2, "memory_rows": 7}
    shapes = {t.name: tuple(axes.get(a, a) for a in t.axes) for t in (*spec.inputs, *spec.outputs)}
    inputs = [torch.empty(shapes[t.name], dtype=TORCH_DTYPES[t.dtype], device="meta") for t in spec.inputs]
    with torch.inference_mode():
        outputs = typed(precision).module(graph)(*inputs)
    tensors = (outputs,) if isinstance(outputs, Tensor) else outputs
    assert [tuple(tensor.shape) for tensor in tensors] == [shapes[t.name] for t in spec.outputs]
    assert [tensor.dtype for tensor in tensors] == [TORCH_DTYPES[t.dtype] for t in spec.outputs]


@pytest.mark.parametrize("precision", LOW)
def test_weights_are_narrow_but_for_those_of_islands(precision: Precision) -> None:
    for graph in GRAPH_MODULES:
        module = typed(precision).module(graph)
        islands = island_paths(module, precision)
        for name, parameter in module.named_parameters():
            inside = any(name.startswith(f"{path}.") for path in islands)
            assert parameter.dtype is (torch.float32 if inside else TORCH_DTYPES[precision.dtype]), name


@pytest.mark.parametrize("island", ISLANDS, ids=lambda island: island.kind.__name__)
def test_every_island_exists_in_some_graph_and_has_a_reason(island: object) -> None:
    found = [
        path
        for precision in island.precisions
        for graph in GRAPH_MODULES
        for path, row in island_paths(typed(precision).module(graph), precision).items()
        if row is island
    ]
    assert found and island.reason


def test_every_preset_is_tested() -> None:
    assert set(PRESETS) == {"mixed", *Precision}


@pytest.mark.parametrize("shared", [False, True])
def test_written_out_attention_equals_the_fused_call(shared: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, 4, 3, 8, generator=generator, dtype=torch.float64)
    keys, values = torch.randn(2, 2, 2 if shared else 4, 6, 8, generator=generator, dtype=torch.float64)
    mask = torch.rand(2, 1, 3, 6, generator=generator) < 0.5
    mask[..., 0] = True
    expected = CacheAttention(shared)(query, keys, values, mask)
    torch.testing.assert_close(WrittenOutAttention(shared)(query, keys, values, mask), expected)


def test_large_scores_survive_in_fp16() -> None:
    """Queries and keys of Phi-2 whose products leave fp16: fine in float32, NaN or infinite without the island."""
    module = typed(Precision.FP16).module("llm")
    attention = module.get_submodule("phi.layers.0.attention")
    query, keys, values = (torch.full((1, 4, 2, 20), size, dtype=torch.float16) for size in (300.0, 300.0, 1.0))
    mask = torch.ones(1, 1, 2, 2, dtype=torch.bool)
    out = attention(query, keys, values, mask)
    assert out.dtype is torch.float16 and torch.equal(out, values)
    assert not (query @ keys.transpose(-1, -2)).isfinite().all()


def test_a_weight_too_large_for_fp16_is_named() -> None:
    class Source:
        shapes = model().weights.source.shapes

        def tensor(self, name: str) -> Tensor:
            return model().weights.source.tensor(name).float() * 1e6

    weights = type(model().weights)(Source(), model().key_map)
    module: nn.Module = typed(Precision.FP16).module("lm_head")
    with pytest.raises(ExportError, match=r"lm_head.weight holds .*, too large for float16; use bf16"):
        weights.of_module(module)["lm_head.weight"]
