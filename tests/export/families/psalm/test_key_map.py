"""Every tensor of the published checkpoint has one fate, in both layouts of its attention weights."""

import json
from pathlib import Path

import pytest
import torch

from hyperseg_export.checkpoint.key_map import KeyMap
from hyperseg_export.families.psalm.config import PsalmConfig
from hyperseg_export.families.psalm.definition import DEFINITION
from hyperseg_export.families.psalm.key_map import NO_ANSWERS, head_by_head
from hyperseg_export.families.psalm.layout import Sizes, tensor_layout
from hyperseg_export.families.psalm.tiny import TINY
from hyperseg_export.model import bind_model
from hyperseg_runtime.errors import CheckpointError
from key_maps import Shapes, ShapesOnly, used_by

GOLDEN = Path(__file__).parents[3] / "golden" / "psalm"
TINY_SHAPES: Shapes = {name: shape for name, shape, _ in tensor_layout(TINY)}
FUSED = ".self_attn.query_key_value."


def matched(shapes: Shapes, sizes: Sizes) -> KeyMap:
    config = PsalmConfig.from_checkpoint(sizes.config(), shapes)
    return bind_model("psalm", DEFINITION.of(config, seg=1, eos=0, files={}), ShapesOnly(shapes)).key_map


def separate(shapes: Shapes) -> Shapes:
    """As newer transformers write them."""
    found: Shapes = {}
    for name, (rows, *rest) in ((name, shape) for name, shape in shapes.items() if FUSED in name):
        found |= {name.replace("query_key_value", f"{part}_proj"): (rows // 3, *rest) for part in "qkv"}
    return {name: shape for name, shape in shapes.items() if FUSED not in name} | found


@pytest.fixture(scope="module")
def published() -> Shapes:
    stored = json.loads((GOLDEN / "real_state_dict.json").read_text())
    return {name: tuple(shape) for name, (shape, _) in stored.items()}


@pytest.mark.parametrize("fused", [True, False])
def test_every_published_tensor_is_used_checked_or_dropped(published: Shapes, fused: bool) -> None:
    shapes = published if fused else separate(published)
    key_map = matched(shapes, Sizes())
    used, dropped, checked = used_by(key_map), set(key_map.dropped), set(key_map.checked)
    assert used | dropped | checked == set(shapes)
    assert len(used) + len(dropped) + len(checked) == len(shapes)
    assert len(checked) == 24  # Swin's index buffers
    assert key_map.dropped["lm_head.weight"] == NO_ANSWERS
    assert sum(name.endswith("num_batches_tracked") for name in dropped) == 3
    assert dropped - {"lm_head.weight", "predictor.query_feat.weight", "predictor.SEG_query_embed.weight"} == {
        name for name in dropped if name.endswith("num_batches_tracked")
    }


def test_attention_weights_come_apart_head_by_head() -> None:
    """W.view(heads, 3, head dim, in)[:, j] for query, key, value (psalm-spec 9)."""
    key_map, heads = matched(TINY_SHAPES, TINY), TINY.heads
    for p, packed in (("weight", torch.randn(240, 80)), ("bias", torch.randn(240))):
        origin = key_map.origins[f"phi.layers.1.qkv.{p}"]
        assert origin.sources == (f"model.layers.1.self_attn.query_key_value.{p}",)
        parts = packed.view(heads, 3, 20, -1)
        expected = torch.cat([parts[:, j].flatten(0, 1) for j in range(3)]).view_as(packed)
        assert torch.equal(origin.transform(packed), expected)


def test_both_layouts_give_the_same_weights() -> None:
    fused, apart = matched(TINY_SHAPES, TINY), matched(separate(TINY_SHAPES), TINY)
    assert fused.origins.keys() == apart.origins.keys()
    packed = torch.randn(240, 80)
    parts = head_by_head(TINY.heads)(packed).chunk(3)
    assert torch.equal(
        fused.origins["phi.layers.0.qkv.weight"].transform(packed),
        apart.origins["phi.layers.0.qkv.weight"].transform(*parts),
    )


def test_a_checkpoint_in_both_layouts_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"not known to this family[\s\S]*self_attn.k_proj"):
        matched({**TINY_SHAPES, **separate(TINY_SHAPES)}, TINY)


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.1.self_attn.query_key_value.bias",
        "model.mm_projector.layer1.0.conv2.weight",
        "model.mm_projector.layer1.0.bn2.running_var",
        "model.mm_projector.layer1.0.downsample.1.running_mean",
        "class_name_projector.weight",
        "predictor.REGION_proj.layers.1.weight",
        "seg_query",
    ],
)
def test_a_missing_tensor_is_named(name: str) -> None:
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        matched({other: shape for other, shape in TINY_SHAPES.items() if other != name}, TINY)


def test_an_added_tensor_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"model\.mm_projector\.layer1\.1\.conv1\.weight"):
        matched({**TINY_SHAPES, "model.mm_projector.layer1.1.conv1.weight": (3, 3)}, TINY)
