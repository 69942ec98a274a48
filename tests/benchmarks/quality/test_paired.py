"""How much a measure lost between two evaluations: the mean, its interval by samples, and the masks' overlap."""

import numpy as np
import pytest

from hyperseg_bench.quality.comparison import Pair
from hyperseg_bench.quality.paired import NORMAL_95, median_overlap, paired_drops
from hyperseg_runtime.contracts.results import encode_rle


def pair(sample: str, before: float, after: float, measure: str = "expressions") -> Pair:
    metric = {"expressions": "iou", "questions": "right"}[measure]
    return Pair(sample, {"measure": measure, metric: before}, {"measure": measure, metric: after})


def test_items_of_one_sample_count_as_one() -> None:
    """Ten copies of each item say no more than one of each."""
    random = np.random.default_rng(0)
    items = [(str(index), 0.8, 0.8 - loss) for index, loss in enumerate(random.normal(0.01, 0.05, 40))]
    (once,) = paired_drops([pair(*item) for item in items])
    (often,) = paired_drops([pair(*item) for item in items for _ in range(10)])
    assert often.items == 400 and often.drop == pytest.approx(once.drop)
    assert often.interval == pytest.approx(once.interval)
    losses = np.array([100 * (before - after) for _, before, after in items])
    assert once.drop == pytest.approx(losses.mean())
    assert once.interval[1] - once.drop == pytest.approx(NORMAL_95 * losses.std(ddof=1) / np.sqrt(40))


def test_measures_are_told_apart_and_a_gain_is_negative() -> None:
    pairs = [pair("a", 0.5, 0.6), pair("b", 0.5, 0.6), pair("a", 1, 0, "questions"), pair("b", 1, 1, "questions")]
    first, second = paired_drops(pairs)
    assert (first.measure, first.drop) == ("expressions", pytest.approx(-10))
    assert (second.measure, second.metric, second.before, second.after) == ("questions", "right", 1, 0.5)


def test_one_sample_says_nothing_about_others() -> None:
    (found,) = paired_drops([pair("a", 0.5, 0.4), pair("a", 0.5, 0.3)])
    assert found.interval == (-np.inf, np.inf)


def test_the_overlap_is_that_of_found_masks() -> None:
    whole, half, nothing = np.ones((4, 4), bool), np.eye(4, dtype=bool), np.zeros((4, 4), bool)

    def found(before: np.ndarray, after: np.ndarray) -> Pair:
        return Pair("a", {"found": encode_rle(before)}, {"found": encode_rle(after)})

    assert median_overlap([found(whole, whole), found(whole, half), found(nothing, nothing)]) == 1
    assert median_overlap([found(whole, half)]) == 0.25
    assert median_overlap([pair("a", 1, 1, "questions")]) is None
