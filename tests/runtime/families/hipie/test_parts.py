"""Parts inside objects, against results of the original code's rule."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hyperseg_runtime.families.hipie.parts import SMALLEST_PX, Part, asked_part, find_parts, is_asked, merged_map

GOLDEN = Path(__file__).parents[3] / "golden" / "hipie"


@cache
def stored() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    with np.load(GOLDEN / "parts.npz") as arrays:
        return dict(arrays), json.loads((GOLDEN / "parts.json").read_text())


@pytest.mark.parametrize(
    ("part_map", "names", "objects", "expected"),
    [
        ("rule_seg", "part_classes", True, "rule_named"),
        ("rule_seg", "part_classes", False, "rule_unnamed"),
        ("rule_remapped", "part_classes_merged", True, "rule_coarse"),
    ],
)
def test_the_originals_rule(part_map: str, names: str, objects: bool, expected: str) -> None:
    arrays, tables = stored()
    owners = tables["rule_names"] if objects else None
    found = list(find_parts(arrays[part_map], tables[names], arrays["rule_masks"].astype(bool), owners))
    assert [part.name for part in found] == tables[f"{expected}_labels"]
    masks = np.stack([part.mask for part in found])
    packed = np.unpackbits(arrays[f"{expected}_packed"])[: masks.size].reshape(masks.shape).astype(bool)
    assert np.array_equal(masks, packed)


def test_coarser_names() -> None:
    arrays, tables = stored()
    group = {int(part): coarse for part, coarse in tables["label_group"].items()}
    found = merged_map(arrays["rule_seg"].astype(int), group, len(tables["part_classes_merged"]))
    assert np.array_equal(found, arrays["rule_remapped"])


def test_which_parts_a_query_means() -> None:
    matches = json.loads((GOLDEN / "prompts.json").read_text())["match"]
    assert {pair: is_asked(*pair.split("|")) for pair in matches} == matches


def test_a_part_needs_more_pixels_than_the_limit() -> None:
    part_map = np.full((20, 20), 1)
    part_map.flat[:SMALLEST_PX] = 0
    everything = np.ones((1, 20, 20), bool)
    names = [part.name for part in find_parts(part_map, ["dog head", "dog leg"], everything)]
    assert names == ["leg"]
    part_map.flat[SMALLEST_PX] = 0
    assert [part.name for part in find_parts(part_map, ["dog head", "dog leg"], everything)] == ["head", "leg"]


def test_a_query_without_a_part_is_an_empty_mask() -> None:
    """The release fails there."""
    part = Part(0, "leg", np.ones((4, 5), bool))
    assert not asked_part([part], "head", (4, 5)).any()
    assert asked_part([part], "leg", (4, 5)).all()
