"""Every tensor of the published checkpoint has one fate, and any other checkpoint is refused by name."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperseg_export.checkpoint.key_map import KeyMap
from hyperseg_export.families.unilseg.config import UnilsegConfig
from hyperseg_export.families.unilseg.definition import definition_of
from hyperseg_export.families.unilseg.key_map import LOGIT_SCALE, TRAINING_COUNT, VISION_TOWER
from hyperseg_export.model import bind_model
from hyperseg_runtime.errors import CheckpointError
from key_maps import Shapes, ShapesOnly, used_by
from unilseg_support import SMALL, planned, published

SMALL_SHAPES: Shapes = dict(planned(SMALL).weights.source.shapes)


def matched(shapes: Shapes, image_px: int = 480) -> KeyMap:
    config = UnilsegConfig.from_checkpoint({"hyperseg_trt": {"image_px": image_px}}, shapes)
    return bind_model("unilseg", definition_of(config, {}), ShapesOnly(shapes)).key_map


@pytest.fixture(scope="module")
def key_map() -> KeyMap:
    return matched({name: shape for name, (shape, _) in published().items()})


def test_every_published_tensor_is_used_checked_or_dropped(key_map: KeyMap) -> None:
    used, dropped, checked = used_by(key_map), set(key_map.dropped), set(key_map.checked)
    assert used | dropped | checked == set(published())
    assert not (used & dropped or used & checked or dropped & checked)


def test_what_is_dropped_and_why(key_map: KeyMap) -> None:
    """unilseg-spec 12: 86.2 million numbers of CLIP's image tower, and counters of 11 norms."""
    assert Counter(key_map.dropped.values()) == {VISION_TOWER: 152, LOGIT_SCALE: 1, TRAINING_COUNT: 11}
    tower = [name for name, reason in key_map.dropped.items() if reason == VISION_TOWER]
    assert all(name.startswith("backbone.visual.") for name in tower)
    assert sum(math.prod(published()[name][0]) for name in tower) == pytest.approx(86.2e6, rel=1e-3)
    assert len(key_map.checked) == 24


def test_packed_projections_come_apart_in_the_order_query_key_value(key_map: KeyMap) -> None:
    packed = torch.randn(3 * 256, 256)
    for part, name in enumerate(("query", "key", "value")):
        origin = key_map.origins[f"query_decoder.layers.4.cross_attention.{name}.weight"]
        assert torch.equal(origin.transform(packed), packed[256 * part : 256 * (part + 1)])
    own = key_map.origins["query_decoder.layers.4.self_attention.value.weight"]
    assert torch.equal(own.transform(packed), packed[512:])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("fusion.0.attention.query.weight", "all_fusion_module.0.multihead_attn.in_proj_weight"),
        ("fusion.3.attention.query.weight", "fusion.multihead_attn.in_proj_weight"),
        ("fusion.2.project.bias", "all_fusion_proj.2.bias"),
        ("fusion.3.project.bias", "fusion_proj.bias"),
        ("fpn.levels.0.lateral.conv.weight", "pixel_decoder.adapter_4.0.weight"),
        ("fpn.levels.3.out.conv.weight", "pixel_decoder.layer_1.0.weight"),
        ("fpn.levels.1.block.norm2.bias", "pixel_decoder.cross_attn_3.norm2.bias"),
    ],
)
def test_levels_are_counted_from_the_right_end(key_map: KeyMap, ours: str, theirs: str) -> None:
    assert key_map.origins[ours].sources[0] == theirs


def test_two_matrices_are_stored_in_an_order_of_their_own(key_map: KeyMap) -> None:
    """The text projection is (in, out); of 77 positions a sentence has 17."""
    matrix, table = torch.randn(5, 7), torch.randn(77, 512)
    assert torch.equal(key_map.origins["text.project.weight"].transform(matrix), matrix.t())
    assert torch.equal(key_map.origins["text.position_embed"].transform(table), table[:17])


def test_a_missing_tensor_is_named() -> None:
    for name in sorted(used_by(planned(SMALL).key_map))[::9]:
        with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
            matched({other: shape for other, shape in SMALL_SHAPES.items() if other != name}, SMALL.image_px)


COUNTER = "num_batches_tracked"
"""Harmless wherever it stands: it is passed over."""


@settings(deadline=None, max_examples=10)
@given(
    st.sampled_from(sorted(name for name in SMALL_SHAPES if not name.endswith(COUNTER))),
    st.sampled_from(["{}.more", "my.{}", "{}s", "_{}"]),
)
def test_an_added_tensor_is_named(name: str, form: str) -> None:
    added = form.format(name)
    with pytest.raises(CheckpointError, match=added.replace(".", r"\.")):
        matched({**SMALL_SHAPES, added: SMALL_SHAPES[name]}, SMALL.image_px)


def test_a_reshaped_tensor_is_refused() -> None:
    for name in sorted(used_by(planned(SMALL).key_map))[::7]:
        shape = SMALL_SHAPES[name]
        with pytest.raises(CheckpointError):
            matched({**SMALL_SHAPES, name: (*shape, 1)}, SMALL.image_px)
