"""Every tensor of the published checkpoint has one fate, and any other checkpoint is refused by name."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperseg_export.checkpoint.key_map import KeyMap
from hyperseg_export.families.hyperseg.config import HypersegConfig
from hyperseg_export.families.hyperseg.definition import DEFINITION
from hyperseg_export.families.hyperseg.layout import Sizes, tensor_layout
from hyperseg_export.families.hyperseg.tiny import TINY
from hyperseg_export.families.mask_queries.names import AFTER_SELECTED_LAYER, NOT_READ
from hyperseg_export.model import bind_model
from hyperseg_export.modules.swin import expand_relative_bias
from hyperseg_runtime.errors import CheckpointError
from key_maps import Shapes, ShapesOnly, used_by

TINY_SHAPES: Shapes = {name: shape for name, shape, _ in tensor_layout(TINY)}
CHANGES: dict[str, Callable[[tuple[int, ...]], tuple[int, ...]]] = {
    "one row more": lambda shape: (shape[0] + 1, *shape[1:]),
    "one column more": lambda shape: (*shape[:-1], shape[-1] + 1),
    "a rank more": lambda shape: (*shape, 1),
    "scalar": lambda shape: (),
}
ANY_ROWS = {"lm_head.weight", "model.embed_tokens.weight", "temporal_query"}
"""Their number of rows is theirs alone to say."""


class Watched(dict[str, tuple[int, ...]]):
    """Shapes that remember which were asked for."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__(shapes)
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> tuple[int, ...]:
        self.asked.add(name)
        return super().__getitem__(name)


def matched(shapes: Shapes, sizes: Sizes) -> KeyMap:
    config = HypersegConfig.from_checkpoint(sizes.config(), shapes)
    config.check_context()
    return bind_model("hyperseg", DEFINITION.of(config, seg=1, eos=0, files={}), ShapesOnly(shapes)).key_map


def asked_for_dimensions() -> set[str]:
    shapes = Watched(TINY_SHAPES)
    HypersegConfig.from_checkpoint(TINY.config(), shapes)
    return shapes.asked


TINY_MAP = matched(TINY_SHAPES, TINY)
USED = sorted(used_by(TINY_MAP))
GIVE_A_DIMENSION = asked_for_dimensions()


@pytest.fixture(scope="module")
def published(golden_dir: Path) -> dict[str, tuple[tuple[int, ...], int]]:
    """Name -> (shape, bytes)."""
    stored = json.loads((golden_dir.parent / "hyperseg_3b_state_dict.json").read_text())
    sizes = {"float16": 2, "float32": 4, "int64": 8}
    return {name: (tuple(shape), math.prod(shape) * sizes[dtype]) for name, (shape, dtype) in stored.items()}


@pytest.fixture(scope="module")
def key_map(published: dict[str, tuple[tuple[int, ...], int]]) -> KeyMap:
    return matched({name: shape for name, (shape, _) in published.items()}, Sizes())


def test_every_published_byte_is_used_checked_or_dropped(
    key_map: KeyMap, published: dict[str, tuple[tuple[int, ...], int]]
) -> None:
    used, dropped, checked = used_by(key_map), set(key_map.dropped), set(key_map.checked)
    assert used | dropped | checked == set(published)
    assert not (used & dropped or used & checked or dropped & checked)
    bytes_of = {group: sum(published[name][1] for name in names) for group, names in (
        ("used", used), ("dropped", dropped), ("checked", checked)
    )}  # fmt: skip
    assert sum(bytes_of.values()) == sum(size for _, size in published.values())
    assert bytes_of["checked"] == 497_664 * 8  # hyperseg-spec 11: the Swin index buffers
    assert bytes_of["dropped"] < 0.01 * bytes_of["used"]


def test_what_is_dropped_and_why(key_map: KeyMap) -> None:
    """Spec 6.1 and 6.7: SigLIP's last layer and head, other tasks' heads, two unused embeddings."""
    siglip = "model.vision_tower.vision_model."
    expected = {
        (AFTER_SELECTED_LAYER, f"{siglip}encoder.layers.26."): 16,
        (AFTER_SELECTED_LAYER, f"{siglip}post_layernorm."): 2,
        (AFTER_SELECTED_LAYER, f"{siglip}head."): 11,
        (NOT_READ, "predictor.box_embed."): 6,
        (NOT_READ, "predictor.iou_head."): 2,
        (NOT_READ, "predictor.reid_embed_head."): 6,
    }
    counted = {
        (reason, prefix): sum(n.startswith(prefix) and why == reason for n, why in key_map.dropped.items())
        for reason, prefix in expected
    }
    assert counted == expected
    assert len(key_map.dropped) == sum(expected.values()) + 2
    assert {"predictor.query_feat.weight", "predictor.SEG_query_embed.weight"} <= set(key_map.dropped)
    assert len(key_map.checked) == 24


def test_published_shapes_become_our_shapes(key_map: KeyMap) -> None:
    qkv = key_map.origins["phi.layers.31.qkv.weight"]
    assert [source.rsplit(".", 2)[1] for source in qkv.sources] == ["q_proj", "k_proj", "v_proj"]
    bias = key_map.origins["swin.stages.2.blocks.17.attention.relative_bias"]
    table = torch.randn(23**2, 16)
    assert torch.equal(bias.transform(table), expand_relative_bias(table, 12))


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("cross_attention.query", (0,)),
        ("cross_attention.key", (1,)),
        ("cross_attention.value", (2,)),
        ("self_attention.query_key", (0, 1)),
        ("self_attention.value", (2,)),
    ],
)
def test_packed_projections_come_apart_in_the_order_query_key_value(target: str, parts: tuple[int, ...]) -> None:
    for p, packed in (("weight", torch.randn(3 * 64, 64)), ("bias", torch.randn(3 * 64))):
        origin = TINY_MAP.origins[f"mask_decoder.layers.2.{target}.{p}"]
        expected = torch.cat([packed[64 * part : 64 * (part + 1)] for part in parts])
        assert origin.sources[0].split(".")[1].split("_")[1] == target.split("_")[0]
        assert torch.equal(origin.transform(packed), expected)


def test_a_missing_tensor_is_named() -> None:
    wrong = {}
    for name in [*GIVE_A_DIMENSION, "model.mm_projector.0.weight", "model.mm_projector.2.weight", *USED[::40]]:
        outcome = refusal({other: shape for other, shape in TINY_SHAPES.items() if other != name})
        if name not in outcome:
            wrong[name] = outcome
    assert not wrong


@settings(deadline=None, max_examples=10)
@given(st.sampled_from(sorted(TINY_SHAPES)), st.sampled_from(["{}.more", "my.{}", "{}s", "_{}"]))
def test_an_added_tensor_is_named(name: str, form: str) -> None:
    added = form.format(name)
    assert added in refusal({**TINY_SHAPES, added: TINY_SHAPES[name]})


@pytest.mark.parametrize("change", CHANGES)
def test_a_reshaped_tensor_is_named(change: str) -> None:
    wrong = {}
    tables = [name for name in USED if name.endswith("blocks.1.attn.relative_position_bias_table")]
    for name in {*USED[7::70], *tables} - GIVE_A_DIMENSION:
        outcome = refusal({**TINY_SHAPES, name: CHANGES[change](TINY_SHAPES[name])})
        if name not in outcome:
            wrong[name] = outcome
    assert not wrong


@pytest.mark.parametrize("change", CHANGES)
def test_a_reshaped_tensor_that_gives_a_dimension_is_refused(change: str) -> None:
    """Others may be blamed: they no longer fit the dimension that was read."""
    wrong = {}
    for name in sorted(GIVE_A_DIMENSION - (ANY_ROWS if change == "one row more" else set())):
        outcome = refusal({**TINY_SHAPES, name: CHANGES[change](TINY_SHAPES[name])})
        if not outcome.startswith(("checkpoint", "config.json")):
            wrong[name] = outcome
    assert not wrong


def test_what_nothing_reads_may_be_missing_or_of_any_shape() -> None:
    """Spec 11: unused tensors may be absent."""
    for name in sorted(set(TINY_SHAPES) - set(USED))[::16]:
        without = {other: shape for other, shape in TINY_SHAPES.items() if other != name}
        assert matched(without, TINY).origins.keys() == TINY_MAP.origins.keys()
        assert matched({**TINY_SHAPES, name: (1, 2)}, TINY).origins.keys() == TINY_MAP.origins.keys()


def refusal(shapes: Shapes) -> str:
    """The message of the CheckpointError that these shapes raise, or what happened instead."""
    try:
        matched(shapes, TINY)
    except CheckpointError as error:
        return str(error)
    except Exception as error:
        return f"not a CheckpointError: {error!r}"
    return "accepted"
