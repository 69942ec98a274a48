"""What is said of samples: percentiles with intervals, and whether two sets of samples differ."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
CONFIDENCE = 0.95
SEED = 0
LEAST = {50: 5, 90: 20, 99: 200}
"""Percentile -> samples from which on it is told: two of them lie beyond it, at least."""


@dataclass(frozen=True)
class Estimate:
    """A value and the interval in which it lies with a confidence of 95 %."""

    value: float
    low: float
    high: float

    @property
    def width(self) -> float:
        """Of the interval, as a share of the value."""
        return (self.high - self.low) / self.value

    def overlaps(self, other: "Estimate") -> bool:
        return self.low <= other.high and other.low <= self.high


def percentile(samples: Sequence[float], percent: int) -> Estimate | None:
    """Of the samples' distribution, by resampling (Efron's percentile bootstrap); None for too few of them."""
    if len(samples) < LEAST[percent]:
        return None
    values = np.asarray(samples)
    found = np.percentile(_resampled(values), percent, axis=1)
    return _estimate(float(np.percentile(values, percent)), found)


def ratio_of_medians(first: Sequence[float], second: Sequence[float]) -> Estimate | None:
    """first / second; None for too few samples. Where the interval holds 1, they do not differ significantly."""
    if min(len(first), len(second)) < LEAST[50]:
        return None
    medians = [np.median(_resampled(np.asarray(samples), seed), axis=1) for seed, samples in enumerate((first, second))]
    return _estimate(float(np.median(first) / np.median(second)), medians[0] / medians[1])


def _resampled(values: np.ndarray, seed: int = SEED) -> np.ndarray:
    """(RESAMPLES, n): drawn from the values, with replacement; the same for the same values."""
    return np.random.default_rng(seed).choice(values, (RESAMPLES, len(values)))


def _estimate(value: float, resampled: np.ndarray) -> Estimate:
    rest = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(resampled, (rest, 100 - rest))
    return Estimate(value, float(low), float(high))
