"""Every tensor of the published checkpoint has one fate, and what the files hold beyond the list is dropped by name."""

import json
from pathlib import Path

import pytest

from hyperseg_export.checkpoint.key_map import KeyMap
from hyperseg_export.families.instructseg.config import InstructsegConfig
from hyperseg_export.families.instructseg.definition import DEFINITION
from hyperseg_export.families.instructseg.key_map import LEFT_OVER
from hyperseg_export.families.instructseg.layout import Sizes, tensor_layout
from hyperseg_export.families.instructseg.tiny import TINY
from hyperseg_export.families.mask_queries.names import AFTER_SELECTED_LAYER
from hyperseg_export.model import bind_model
from hyperseg_runtime.errors import CheckpointError
from key_maps import Shapes, ShapesOnly, used_by

GOLDEN = Path(__file__).parents[3] / "golden"
TINY_SHAPES: Shapes = {name: shape for name, shape, _ in tensor_layout(TINY)}


def matched(shapes: Shapes, sizes: Sizes) -> KeyMap:
    config = InstructsegConfig.from_checkpoint(sizes.config(), shapes)
    return bind_model("instructseg", DEFINITION.of(config, seg=1, eos=0, files={}), ShapesOnly(shapes)).key_map


def listed(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    return {name: (tuple(shape), dtype) for name, (shape, dtype) in json.loads(path.read_text()).items()}


@pytest.fixture(scope="module")
def published() -> dict[str, tuple[tuple[int, ...], str]]:
    return listed(GOLDEN / "instructseg" / "real_state_dict.json")


@pytest.fixture(scope="module")
def left_over() -> Shapes:
    """Heads that HyperSeg's list has and InstructSeg's has not: 22 tensors (instructseg-spec 6)."""
    heads = ("box_embed", "iou_head", "reid_embed_head", "CLASS_proj", "REGION_proj")
    found = listed(GOLDEN / "hyperseg_3b_state_dict.json")
    return {
        name: shape for name, (shape, _) in found.items() if name.startswith(tuple(f"predictor.{h}." for h in heads))
    }


def test_the_layout_is_the_published_list(published: dict[str, tuple[tuple[int, ...], str]]) -> None:
    made = {name: (shape, str(dtype).removeprefix("torch.")) for name, shape, dtype in tensor_layout(Sizes())}
    assert made == published and len(made) == 1640


def test_every_published_tensor_is_used_checked_or_dropped(
    published: dict[str, tuple[tuple[int, ...], str]], left_over: Shapes
) -> None:
    shapes = {**{name: shape for name, (shape, _) in published.items()}, **left_over}
    key_map = matched(shapes, Sizes())
    groups = used_by(key_map), set(key_map.dropped), set(key_map.checked)
    assert set.union(*groups) == set(shapes) and sum(map(len, groups)) == len(shapes)
    assert len(key_map.checked) == 24
    reasons = [key_map.dropped[name] for name in left_over]
    assert len(reasons) == 22 and set(reasons) == {LEFT_OVER}
    rest = [reason for name, reason in key_map.dropped.items() if name not in left_over]
    assert rest.count(AFTER_SELECTED_LAYER) == len(rest) - 2


def test_left_over_heads_may_be_missing() -> None:
    assert LEFT_OVER not in matched(TINY_SHAPES, TINY).dropped.values()


def test_a_missing_or_added_tensor_is_named() -> None:
    for name in ("ovp_layers.layers.1.0.to_kv.weight", "local_project.bias", "origin_SEG_token_projector.weight"):
        with pytest.raises(CheckpointError, match=name):
            matched({other: shape for other, shape in TINY_SHAPES.items() if other != name}, TINY)
    with pytest.raises(CheckpointError, match=r"vmtf_layers\.more"):
        matched({**TINY_SHAPES, "vmtf_layers.more": (1,)}, TINY)


def test_widths_that_are_equal_by_chance_are_read_apart() -> None:
    """instructseg-spec 8: each from its own tensor."""
    config = InstructsegConfig.from_checkpoint(TINY.config(), TINY_SHAPES)
    assert (config.perceiver.width, config.perceiver.heads * config.perceiver.head_width) == (80, 128)
    assert (config.fusion.width, config.fusion.heads * config.fusion.head_width) == (72, 192)
    assert config.swin.channels[-1] == 128
    assert (config.perceiver.media_width, config.fusion.media_width) == (3 * 2 * 128, 3 * 2 * 192)
