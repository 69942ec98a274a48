"""Percentiles, intervals and ratios: what they cover, and what they refuse to tell."""

import numpy as np
import pytest

from hyperseg_bench.latency.statistics import LEAST, percentile, ratio_of_medians


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Of 200 draws whose median is known, about 95 % of the intervals hold it."""
    random = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        found = percentile(list(random.lognormal(3, 0.1, 30)), 50)
        held += found is not None and found.low <= np.exp(3) <= found.high
    assert 0.90 <= held / 200 <= 0.99


def test_few_samples_tell_few_percentiles() -> None:
    for percent, least in LEAST.items():
        assert percentile([1.0] * (least - 1), percent) is None
        found = percentile([1.0] * least, percent)
        assert found is not None and (found.value, found.low, found.high, found.width) == (1.0, 1.0, 1.0, 0.0)


def test_the_same_samples_give_the_same_interval() -> None:
    samples = list(np.random.default_rng(2).normal(10, 1, 20))
    assert percentile(samples, 90) == percentile(samples, 90)


def test_a_ratio_tells_what_differs() -> None:
    random = np.random.default_rng(3)
    slow, fast, again = (list(random.normal(mean, 1, 40)) for mean in (20, 10, 10))
    found, same = ratio_of_medians(slow, fast), ratio_of_medians(again, fast)
    assert found is not None and found.low > 1.8 and found.value == pytest.approx(2, rel=0.1)
    assert same is not None and same.low < 1 < same.high
    assert ratio_of_medians(slow[:3], fast) is None
