"""The plan of a preset, and what it does to a module."""

import functools

import pytest
import torch
from torch import Tensor, nn

from hyperseg_export.families.registry import EXPORT_FAMILIES
from hyperseg_export.model import SourceModel
from hyperseg_export.modules.phi import CacheAttention, WrittenOutAttention
from hyperseg_export.onnx.writer import TORCH_DTYPES
from hyperseg_export.precision.typed import PRESETS, choose_precisions, island_paths, typed_model
from hyperseg_runtime.contracts.axes import size_of
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.errors import ExportError, InputError
from hyperseg_runtime.families import FAMILIES

LOW = [Precision.FP16, Precision.BF16]
FAMILY = FAMILIES["hyperseg"]
GRAPHS = [spec.name for spec in FAMILY.graph_specs(FAMILY.published)]
EXACT = {spec.name for spec in FAMILY.graph_specs(FAMILY.published) if spec.exact}
"""Those that no preset narrows."""


@functools.cache
def model() -> SourceModel:
    return EXPORT_FAMILIES["hyperseg"].random.model("tiny", 0)


@functools.cache
def typed(precision: Precision) -> SourceModel:
    return typed_model(model(), choose_precisions(model().specs, precision))


def test_mixed_has_the_language_model_in_bf16_and_the_rest_in_fp16() -> None:
    graphs = choose_precisions(model().specs, "mixed").graphs
    assert {name for name, precision in graphs.items() if precision is Precision.BF16} == {"llm", "lm_head"}
    assert {name for name, precision in graphs.items() if precision is Precision.FP32} == EXACT


@pytest.mark.parametrize("preset", ["fp32", "fp16", "bf16"])
def test_a_plain_preset_is_one_precision_everywhere(preset: str) -> None:
    graphs = choose_precisions(model().specs, preset).graphs
    assert {graphs[name] for name in graphs.keys() - EXACT} == {Precision(preset)}
    assert {graphs[name] for name in EXACT} == {Precision.FP32}


def test_a_graph_can_be_overridden() -> None:
    graphs = choose_precisions(model().specs, "mixed", {"llm": "fp32"}).graphs
    assert graphs["llm"] is Precision.FP32 and graphs["lm_head"] is Precision.BF16


@pytest.mark.parametrize(
    ("preset", "overrides", "message"),
    [
        ("int8", {}, "choose fp32, fp16, bf16, mixed"),
        ("mixed", {"decoder": "fp16"}, "graphs are preprocess, image_encoder, clip_encoder"),
        ("mixed", {"llm": "fp8"}, "graph llm: unknown precision 'fp8'; choose fp32, fp16, bf16"),
    ],
)
def test_what_does_not_exist_is_refused(preset: str, overrides: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose_precisions(model().specs, preset, overrides)


@pytest.mark.parametrize("precision", LOW)
@pytest.mark.parametrize("graph", GRAPHS)
def test_forward_gives_the_types_of_the_contract(graph: str, precision: Precision) -> None:
    """On the meta device; a pair of operands that PyTorch does not promote raises."""
    spec = typed(precision).spec(graph)
    sizes = {"batch": 3, "tokens": 5, "conditions": 2, "memory_rows": 7, "image_height": 6, "image_width": 9}
    sizes |= {axis: 20 + index for index, axis in enumerate(spec.axis_ranges) if axis not in sizes}
    shapes = {t.name: tuple(size_of(a, sizes) for a in t.axes) for t in (*spec.inputs, *spec.outputs)}
    inputs = [torch.empty(shapes[t.name], dtype=TORCH_DTYPES[t.dtype], device="meta") for t in spec.inputs]
    with torch.inference_mode():
        outputs = typed(precision).module(graph)(*inputs)
    tensors = (outputs,) if isinstance(outputs, Tensor) else outputs
    assert [tuple(tensor.shape) for tensor in tensors] == [shapes[t.name] for t in spec.outputs]
    assert [tensor.dtype for tensor in tensors] == [TORCH_DTYPES[t.dtype] for t in spec.outputs]


@pytest.mark.parametrize("precision", LOW)
def test_weights_are_narrow_but_for_those_of_islands(precision: Precision) -> None:
    for graph in GRAPHS:
        module = typed(precision).module(graph)
        islands = island_paths(module, precision)
        for name, parameter in module.named_parameters():
            inside = any(name.startswith(f"{path}.") for path in islands)
            assert parameter.dtype is (torch.float32 if inside else TORCH_DTYPES[precision.dtype]), name


@pytest.mark.parametrize("precision", LOW)
def test_islands_are_declared_by_modules_that_exist_each_with_its_reason(precision: Precision) -> None:
    found = {
        type(model().module(graph).get_submodule(path)).__name__: island
        for graph in GRAPHS
        for path, island in island_paths(model().module(graph), precision).items()
    }
    everywhere = {
        "LayerNorm", "GroupNorm", "ResidualStream", "RotaryEmbedding", "TanhGelu", "DeformableSampling", "MaskLogits",
        "ConditionScore", "RowPooling",
    }  # fmt: skip
    assert found.keys() == (everywhere | {"CacheAttention"} if precision is Precision.FP16 else everywhere)
    assert all(island.reason for island in found.values())


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
