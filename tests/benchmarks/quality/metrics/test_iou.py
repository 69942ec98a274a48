"""cIoU and mIoU on masks counted by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperseg_bench.quality.metrics.iou import IouSums, ciou, miou, overlap


def row(text: str) -> np.ndarray:
    return np.array([[character == "x" for character in text]])


LARGE = row("xxxxxxxx.."), row("xxxxxx....")  # 6 / 8
SMALL = row("x........."), row(".x........")  # 0 / 2
EMPTY = row(".........."), row("..........")


def test_ciou_sums_before_it_divides() -> None:
    """The mean of the pairs' IoU, a common mistake, is 0.375."""
    assert ciou([LARGE, SMALL]) == pytest.approx(6 / 10)
    assert miou([LARGE, SMALL]) == pytest.approx(0.375)


def test_nothing_found_where_nothing_is_counts_as_right() -> None:
    assert miou([LARGE, EMPTY]) == pytest.approx((0.75 + 1) / 2)
    assert ciou([LARGE, EMPTY]) == pytest.approx(0.75)
    assert ciou([EMPTY]) == 1


def test_something_found_where_nothing_is_counts_as_wrong() -> None:
    sums = IouSums()
    assert sums.add(row("xx"), row("..")) == 0
    assert (sums.ciou, sums.miou, sums.giou) == (0, 0, 0)


def test_void_pixels_belong_to_neither_side() -> None:
    """Counting them would give 2 / 5."""
    assert overlap(row("xxx.."), row(".xxxx"), void=row("x...x")) == (2, 3)


def test_before_anything_was_added_all_is_zero() -> None:
    assert (IouSums().ciou, IouSums().miou) == (0, 0)


@pytest.mark.parametrize("wrong", [np.ones((1, 3), np.bool_), np.ones((1, 2), np.uint8)])
def test_masks_must_fit_each_other(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected bool masks of shape"):
        overlap(wrong, row("xx"))


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), min_size=1, max_size=6))
def test_the_order_of_pairs_and_sides_does_not_matter(numbers: list[tuple[int, int]]) -> None:
    pairs = [tuple(np.array([[number >> bit & 1 == 1 for bit in range(8)]]) for number in pair) for pair in numbers]
    assert ciou(pairs) == ciou([(b, a) for a, b in reversed(pairs)])
    assert miou(pairs) == pytest.approx(miou([(b, a) for a, b in reversed(pairs)]))
    assert 0 <= ciou(pairs) <= 1
