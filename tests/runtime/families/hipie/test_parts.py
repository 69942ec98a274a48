"""Parts inside objects, against results of the original code's rule."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hyperseg_runtime.families.hipie.part_names import COARSER, PART_NAMES, in_two
from hyperseg_runtime.families.hipie.parts import SMALLEST_PX, Part, PartMap, find_parts, is_asked, together

GOLDEN = Path(__file__).parents[3] / "golden" / "hipie"


@cache
def stored() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    with np.load(GOLDEN / "parts.npz") as arrays:
        return dict(arrays), json.loads((GOLDEN / "parts.json").read_text())


def masks_of(packed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.unpackbits(packed)[: int(np.prod(shape))].reshape(shape).astype(bool)


def test_the_originals_names() -> None:
    """It writes a space behind a whole, which no tokenizer sees."""
    _, tables = stored()
    groups = {int(part): coarse for part, coarse in tables["label_group"].items()}
    assert tuple(in_two(name.strip()) for name in tables["part_classes"]) == PART_NAMES
    assert tuple(COARSER) == tuple(in_two(name.strip()) for name in tables["part_classes_merged"])
    for number, names in enumerate(COARSER.values(), 1):
        assert {PART_NAMES.index(name) + 1 for name in names} == {part for part in groups if groups[part] == number}


@pytest.mark.parametrize(
    ("coarse", "objects", "expected"),
    [(False, True, "rule_named"), (False, False, "rule_unnamed"), (True, True, "rule_coarse")],
)
def test_the_originals_rule(coarse: bool, objects: bool, expected: str) -> None:
    arrays, tables = stored()
    fine = PartMap(arrays["rule_seg"], PART_NAMES)
    owners = tables["rule_names"] if objects else None
    found = list(find_parts(fine.coarser() if coarse else fine, arrays["rule_masks"].astype(bool), owners))
    assert [part.name for part in found] == tables[f"{expected}_labels"]
    masks = np.stack([part.mask for part in found])
    assert np.array_equal(masks, masks_of(arrays[f"{expected}_packed"], masks.shape))


@pytest.mark.parametrize("names", ["fine", "coarse"])
def test_the_originals_parts_of_what_an_expression_refers_to(names: str) -> None:
    """Objects have no names there; of the parts found none is the head that was asked for."""
    arrays, tables = stored()
    part_map = PartMap(arrays["parts_seg"].astype(int), PART_NAMES)
    referred = masks_of(arrays["ref_mask_packed"], tuple(arrays["ref_mask_shape"].tolist()))
    found = list(find_parts(part_map.coarser() if names == "coarse" else part_map, referred))
    assert [part.name for part in found] == tables[f"ref_part_{names}_names"]
    (expected,) = masks_of(arrays[f"ref_part_{names}_packed"], tuple(tables[f"ref_part_{names}_shape"]))
    assert np.array_equal(together([part for part in found if is_asked("head", part.name)], expected.shape), expected)


def test_coarser_names() -> None:
    arrays, _ = stored()
    found = PartMap(arrays["rule_seg"].astype(int), PART_NAMES).coarser()
    assert np.array_equal(found.numbers, arrays["rule_remapped"])


def test_which_parts_a_query_means() -> None:
    matches = json.loads((GOLDEN / "prompts.json").read_text())["match"]
    assert {pair: is_asked(*pair.split("|")) for pair in matches} == matches


def test_a_part_needs_more_pixels_than_the_limit() -> None:
    numbers = np.full((20, 20), 1)
    numbers.flat[:SMALLEST_PX] = 0
    part_map = PartMap(numbers, (("dog", "head"), ("dog", "leg")))
    everything = np.ones((1, 20, 20), bool)
    assert [part.name for part in find_parts(part_map, everything)] == ["leg"]
    numbers.flat[SMALLEST_PX] = 0
    assert [part.name for part in find_parts(part_map, everything)] == ["head", "leg"]


def test_an_object_of_several_words_has_parts() -> None:
    part_map = PartMap(np.zeros((20, 20), int), (("traffic light", "lamp"),))
    found = list(find_parts(part_map, np.ones((2, 20, 20), bool), ["traffic", "traffic light"]))
    assert [(part.owner, part.name) for part in found] == [(1, "lamp")]


def test_no_part_is_an_empty_mask() -> None:
    """The release fails there."""
    assert not together([], (4, 5)).any()
    assert together([Part(0, "leg", np.ones((4, 5), bool))], (4, 5)).all()
