"""Objects with their parts, one part of an object, and objects that give way to their parts."""

import numpy as np
import pytest

from hyperseg_runtime.contracts.requests import Classes
from hyperseg_runtime.contracts.results import Instances, PanopticMap, Segment, decode_rle
from hyperseg_runtime.families.hipie.hierarchy import asked_parts, part_list, referred_part, with_parts
from hyperseg_runtime.families.hipie.panoptic_parts import in_parts
from hyperseg_runtime.families.hipie.part_names import PART_NAMES
from hyperseg_runtime.families.hipie.part_query import PartQuery
from hyperseg_runtime.families.hipie.parts import PartMap

NAMES = (("dog", "eye"), ("dog", "leg"), ("dog", "body"), ("cat", "head"), ("wall", ""))
HW = (20, 60)
LEFT, RIGHT = (slice(None), slice(0, 30)), (slice(None), slice(30, 60))


def part_map(*columns: int) -> PartMap:
    """Bands of 10 columns, by number of the part; -1 for none."""
    return PartMap(np.repeat(np.array([columns]), 10, axis=1).repeat(HW[0], axis=0), NAMES)


def objects(*labels: str, scores: tuple[float, ...] = (0.9, 0.8)) -> Instances:
    """The left half, the right half."""
    masks = np.zeros((2, *HW), bool)
    masks[0][LEFT] = masks[1][RIGHT] = True
    return Instances(
        asked=("dog", "cat"),
        task="parts",
        masks=masks[: len(labels)],
        scores=np.array(scores[: len(labels)], np.float32),
        labels=labels,
        instance_details=tuple({"query": row} for row in range(len(labels))),
    )


def test_what_a_second_list_asks() -> None:
    assert asked_parts(Classes(("dog",))) is PART_NAMES
    names = asked_parts(Classes(("dog",), parts=(("traffic light", ("lamp", "pole")), ("dog", ("head",)))))
    assert names == (("traffic light", "lamp"), ("traffic light", "pole"), ("dog", "head"))
    listed = part_list((*names, ("wall", "")))
    assert listed.names == ("traffic light lamp", "traffic light pole", "dog head", "wall")
    assert listed.things == (False,) * 4


def test_objects_have_their_own_parts() -> None:
    """Those of their name inside their mask; a body is the object; uncertain ones have none."""
    found = with_parts(objects("dog", "cat"), part_map(0, 2, 3, 3, 0, 4))
    assert [[name for name, _ in found.parts(row)] for row in (0, 1)] == [["eye", "dog"], ["head"]]
    (eye, mask), _ = found.parts(0)
    assert eye == "eye" and mask[:, :10].all() and not mask[:, 10:].any()
    assert found.instance_details[1]["query"] == 1
    assert found.instance_details[1]["parts"][0]["area_px"] == 200
    unsure = with_parts(objects("dog", "cat", scores=(0.9, 0.5)), part_map(0, 2, 3, 3, 0, 4))
    assert not list(unsure.parts(1)) and unsure.has_parts


def test_one_part_of_what_is_referred_to() -> None:
    """All parts that may be meant, of whatever object: "head" means eyes too. The score stays the object's."""
    referred = objects("it: head")
    found = referred_part(referred, PartQuery("it", "head"), part_map(0, 3, 1, 3, 3, 3))
    assert found.mask[:, :20].all() and not found.mask[:, 20:].any()
    assert found.score == referred.score and not found.has_parts
    assert found.instance_details[0]["part_names"] == ["eye", "head"]
    whole = found.instance_details[0]["object"]
    assert np.array_equal(decode_rle(whole["segmentation"]), referred.mask) and whole["area_px"] == 600


def test_a_part_that_is_not_there_is_an_empty_mask() -> None:
    found = referred_part(objects("it: head"), PartQuery("it", "head"), part_map(1, 1, 1, 0, 0, 0))
    assert found.masks.shape == (1, *HW) and not found.masks.any()
    assert found.instance_details[0]["part_names"] == []
    nothing = referred_part(objects(), PartQuery("it", "head"), part_map(0, 0, 0, 0, 0, 0))
    assert nothing.masks.shape == (0, *HW)


def scene() -> PanopticMap:
    ids = np.zeros(HW, np.int32)
    ids[LEFT], ids[RIGHT] = 1, 2
    segments = (Segment(1, 1, True, 0.9), Segment(2, 0, True, 0.7))
    return PanopticMap(
        asked=("cat", "dog"), task="panoptic parts", ids=ids, segments=segments, details={"text_tokens": 5}
    )


def test_an_object_that_its_parts_cover_gives_way_to_them() -> None:
    found = in_parts(scene(), part_map(0, 2, 1, 3, 3, -1))
    assert found.asked == ("cat", "dog", "dog eye", "dog leg")
    labels = {segment.id: found.asked[segment.class_index] for segment in found.segments}
    assert labels == {2: "cat", 3: "dog eye", 4: "dog leg", 5: "dog"}
    assert found.ids[0, ::10].tolist() == [3, 5, 4, 2, 2, 2], "two thirds of the cat are not enough"
    assert {segment.score for segment in found.segments} == {0.9, 0.7}
    assert found.details == {"text_tokens": 5, "parts_of_objects": [[3, 4, 5]]}


@pytest.mark.parametrize(("uncovered", "replaced"), [(120, True), (121, False)])
def test_four_fifths_are_enough(uncovered: int, replaced: bool) -> None:
    """Of its pixels; the rest is of nothing then."""
    parts = part_map(0, 0, 0, -1, -1, -1)
    parts.numbers.T.flat[:uncovered] = -1
    found = in_parts(scene(), parts)
    assert found.details["parts_of_objects"] == ([[3]] if replaced else [])
    assert int((found.ids == 0).sum()) == (uncovered if replaced else 0)


def test_stuff_and_foreign_parts_change_nothing() -> None:
    still = scene()
    stuff = PanopticMap(
        asked=still.asked, task=still.task, ids=still.ids,
        segments=tuple(Segment(s.id, s.class_index, False, s.score) for s in still.segments),
    )  # fmt: skip
    covered = part_map(0, 1, 2, 3, 3, 3)
    assert in_parts(stuff, covered).segments == stuff.segments
    assert np.array_equal(in_parts(still, part_map(3, 3, 3, 0, 0, 0)).ids, still.ids)
