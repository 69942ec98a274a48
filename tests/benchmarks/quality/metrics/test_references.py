"""Metrics against numbers that the reference implementations gave on the same cases, and against common mistakes.

`reference_values.json` names the repositories and commits that were run on the cases of `metric_cases.py`.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metric_cases
from hyperseg_bench.quality.metrics.iou import IouSums, overlap
from hyperseg_bench.quality.metrics.panoptic import PanopticCounts
from hyperseg_bench.quality.metrics.semantic import class_pixels, mean_iou
from hyperseg_bench.quality.metrics.video import boundary_accuracy, clip_scores

REFERENCE: dict[str, Any] = json.loads((Path(__file__).parent / "reference_values.json").read_text())
CLIPS = REFERENCE["davis2017-evaluation"]["clips"]
IMAGES = REFERENCE["panopticapi"]["images"]
THINGS = {number for number, thing in metric_cases.CATEGORIES.items() if thing}


@pytest.mark.parametrize("seed", range(len(CLIPS)))
def test_j_and_f_are_those_of_davis(seed: int) -> None:
    found, truth, void = metric_cases.clip(seed)
    for expected, without in ((CLIPS[seed]["plain"], None), (CLIPS[seed]["with_void"], void)):
        scores = clip_scores(found, truth, without)
        assert (scores.j, scores.f) == pytest.approx((expected["j"], expected["f"]), abs=1e-12)


def test_the_cases_tell_j_and_f_from_common_mistakes() -> None:
    """Void ignored and a boundary off by one pixel change what the reference gives."""
    found, truth, void = metric_cases.clip(1)
    expected = CLIPS[1]["with_void"]
    assert clip_scores(found, truth).j != pytest.approx(expected["j"], abs=1e-4)
    assert clip_scores(found, truth).f != pytest.approx(expected["f"], abs=1e-4)
    by_one = [boundary_accuracy(f, np.roll(t, 1, 0)) for f, t in zip(found & ~void, truth & ~void, strict=True)]
    assert np.mean(by_one) != pytest.approx(expected["f"], abs=1e-4)


@pytest.mark.parametrize("seed", range(len(IMAGES)))
def test_pq_counts_are_those_of_panopticapi(seed: int) -> None:
    counts = counted([seed])
    expected = {int(category): own for category, own in IMAGES[seed].items() if any(own.values())}
    found = {category: vars(own) for category, own in counts.categories.items() if own.seen}
    assert found.keys() == expected.keys()
    for category, own in found.items():
        assert own == pytest.approx(expected[category], abs=1e-12)


def test_pq_is_that_of_panopticapi() -> None:
    counts, expected = counted(range(len(IMAGES))), REFERENCE["panopticapi"]["all"]
    assert counts.quality() == pytest.approx(expected["pq"], abs=1e-12)
    assert counts.quality(THINGS) == pytest.approx(expected["pq_things"], abs=1e-12)
    assert counts.quality(metric_cases.CATEGORIES.keys() - THINGS) == pytest.approx(expected["pq_stuff"], abs=1e-12)


def test_the_cases_tell_pq_from_common_mistakes() -> None:
    """The mean of the images' PQ, and void or crowds that count, are not what the reference gives."""
    expected = REFERENCE["panopticapi"]["all"]["pq"]
    single = np.mean([counted([seed]).quality() for seed in range(len(IMAGES))])
    assert single != pytest.approx(expected, abs=1e-3)
    crowds = [segment for seed in range(len(IMAGES)) for segment in metric_cases.panoptic_pair(seed)[1].segments]
    assert any(segment.crowd for segment in crowds)
    surplus = sum(own.surplus for own in counted(range(len(IMAGES))).categories.values())
    unmatched = sum(
        len(found.segments) - sum(own["matched"] for own in IMAGES[seed].values())
        for seed in range(len(IMAGES))
        for found in (metric_cases.panoptic_pair(seed)[0],)
    )
    assert surplus < unmatched  # some are excused by void or a crowd


def test_ciou_tells_void_and_the_mean_of_images_apart() -> None:
    """By counting pixels one by one; what leaves void out or divides too early gives something else."""
    sums, shared, union, naive = IouSums(), 0, 0, IouSums()
    for seed in range(12):
        found, truth, void = metric_cases.pair(seed)
        sums.add(found, truth, void)
        naive.add(found, truth)
        for f, t, v in zip(found.ravel().tolist(), truth.ravel().tolist(), void.ravel().tolist(), strict=True):
            shared += f and t and not v
            union += (f or t) and not v
    assert sums.ciou == shared / union
    assert sums.ciou != pytest.approx(sums.miou, abs=1e-2)
    assert sums.ciou != pytest.approx(naive.ciou, abs=1e-3)
    assert overlap(*metric_cases.pair(4)[:2]) == (0, 0)


def test_mean_iou_sums_pixels_of_all_images_first() -> None:
    """Class 0: 2 of 3 and 1 of 1; class 1: 0 of 1. Dividing in each image first would give (1/3 + 1) / 2."""
    images = [
        class_pixels(np.array([[0, 0, 0, 1]]), np.array([[0, 0, 1, -1]])),
        class_pixels(np.array([[0, -1]]), np.array([[0, -1]])),
    ]
    assert mean_iou(images) == pytest.approx((3 / 4 + 0) / 2)
    assert mean_iou([]) == 0
    with pytest.raises(ValueError, match="expected a map of shape"):
        class_pixels(np.zeros((1, 2)), np.zeros((2, 1)))


def test_void_of_the_truth_does_not_count_and_void_of_a_prediction_is_wrong() -> None:
    assert mean_iou([class_pixels(np.array([[0, 1]]), np.array([[0, -1]]))]) == 1
    assert mean_iou([class_pixels(np.array([[0, -1]]), np.array([[0, 0]]))]) == 0.5


def counted(seeds: Iterable[int]) -> PanopticCounts:
    counts = PanopticCounts()
    for seed in seeds:
        found, truth = metric_cases.panoptic_pair(seed)
        counts.add(found.numbers, found.segments, truth.numbers, truth.segments)
    return counts
