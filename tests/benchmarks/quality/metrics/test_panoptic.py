"""PQ on rows of pixels that can be counted."""

import numpy as np
import pytest

from hyperseg_bench.quality.metrics.panoptic import PanopticCounts, Segment

CAT, DOG = 1, 2


def row(text: str) -> np.ndarray:
    """ "1" is segment 1, "." is void."""
    return np.array([[0 if character == "." else int(character) for character in text]])


def quality(predicted: str, ours: list[Segment], target: str, theirs: list[Segment]) -> float:
    counts = PanopticCounts()
    counts.add(row(predicted), ours, row(target), theirs)
    return counts.quality()


def test_a_match_counts_its_iou_and_a_miss_halves_it() -> None:
    """One cat of 3 / 4, one cat missed: 0.75 / 1.5. The mean IoU of segments would be 0.375."""
    two = [Segment(1, CAT), Segment(2, CAT)]
    assert quality("111.....", [Segment(1, CAT)], "1111..22", two) == pytest.approx(0.75 / 1.5)


def test_just_half_is_no_match() -> None:
    """IoU 0.5 exactly: with >= it would be a match of quality 0.5."""
    assert quality("11......", [Segment(1, CAT)], "1111....", [Segment(1, CAT)]) == 0


def test_another_category_is_a_miss_and_a_surplus() -> None:
    assert quality("1111", [Segment(1, DOG)], "1111", [Segment(1, CAT)]) == 0


def test_categories_weigh_the_same_whatever_their_number_of_segments() -> None:
    """Cats: two right. Dogs: one missed. Counting segments alike would give 2 / 2.5."""
    theirs = [Segment(1, CAT), Segment(2, CAT), Segment(3, DOG)]
    assert quality("1122....", [Segment(1, CAT), Segment(2, CAT)], "112233..", theirs) == pytest.approx(0.5)


def test_what_lies_on_void_is_not_held_against_a_segment() -> None:
    """Without the rule the union would be 6, the IoU 4 / 6."""
    assert quality("111111..", [Segment(1, CAT)], "1111....", [Segment(1, CAT)]) == 1


def test_a_segment_mostly_on_void_or_on_a_crowd_of_its_kind_is_no_surplus() -> None:
    ours = [Segment(1, CAT), Segment(2, CAT)]
    assert quality("1111.222", ours, "1111...2", [Segment(1, CAT), Segment(2, DOG)]) == pytest.approx((1 + 0) / 2)
    crowd = [Segment(1, CAT), Segment(2, CAT, crowd=True)]
    assert quality("1111.222", ours, "1111.222", crowd) == 1
    other = [Segment(1, CAT), Segment(2, DOG, crowd=True)]
    assert quality("1111.222", ours, "1111.222", other) == pytest.approx(1 / 1.5)


def test_some_categories_can_be_asked_for() -> None:
    counts = PanopticCounts()
    counts.add(row("1122"), [Segment(1, CAT), Segment(2, DOG)], row("11.."), [Segment(1, CAT)])
    counts.add(row("1..."), [Segment(1, DOG)], row("...1"), [Segment(1, DOG)])
    assert counts.quality([CAT]) == 1
    assert counts.quality([DOG]) == 0
    assert PanopticCounts().quality() == 0


@pytest.mark.parametrize("segments", [[], [Segment(1, CAT), Segment(7, CAT)]])
def test_maps_and_segments_must_agree(segments: list[Segment]) -> None:
    with pytest.raises(ValueError, match="the map holds the segments"):
        quality("11", segments, "11", [Segment(1, CAT)])
