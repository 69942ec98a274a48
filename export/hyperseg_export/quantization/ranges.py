"""From the sizes of an activation to the largest one that its 8 bits tell apart. Larger ones become that size.

max          nothing is cut off
percentile   all but the largest 0.01 % of the values
mse          the least mean square error of the rounded values
entropy      the least Kullback-Leibler divergence of their distribution (Migacz, "8-bit inference with TensorRT", 2017)
"""

from collections.abc import Callable, Mapping
from enum import StrEnum

import numpy as np

from hyperseg_export.quantization.magnitudes import BINS, Magnitudes

LEVELS = 128
"""Sizes that a signed number of 8 bits has."""
PERCENTILE = 99.99
TRIED = 64
"""Ends of the distribution that are tried, at sizes that occur."""
CANDIDATES = np.linspace(0.1, 1.0, 91)
"""Parts of the largest value that are tried as range."""


class Method(StrEnum):
    MAX = "max"
    PERCENTILE = "percentile"
    MSE = "mse"
    ENTROPY = "entropy"


def range_of(found: Magnitudes, method: Method) -> float:
    """Never more than the largest value; 0 where there is nothing but zeros."""
    if found.largest == 0:
        return 0.0
    return min(float(METHODS[method](found)), found.largest)


def _percentile(found: Magnitudes) -> float:
    reached = np.cumsum(found.counts) >= found.counts.sum() * PERCENTILE / 100
    return float(np.argmax(reached) + 1) * found.extent / BINS


def _mse(found: Magnitudes) -> float:
    sizes, weights = found.sizes(), found.counts
    ranges = CANDIDATES[:, None] * found.largest
    steps = ranges / (LEVELS - 1)
    rounded = np.minimum(np.rint(sizes / steps), LEVELS - 1) * steps
    errors = ((rounded - sizes) ** 2 * weights).sum(axis=1)
    return float(ranges[np.argmin(errors), 0])


def _entropy(found: Magnitudes) -> float:
    width = found.extent / BINS
    used = np.flatnonzero(found.counts) + 1
    ends = used[used > LEVELS]
    if not len(ends):
        return found.largest
    ends = np.unique(ends[np.linspace(0, len(ends) - 1, TRIED).astype(int)])
    divergences = [_divergence(found.counts, end) for end in ends]
    return float(ends[int(np.argmin(divergences))]) * width


def _divergence(counts: np.ndarray, end: int) -> float:
    """Of the values cut off at bin `end` from the same in `LEVELS` levels; each level spreads over the bins in use."""
    reference = counts[:end].astype(np.float64)
    reference[-1] += counts[end:].sum()
    level = np.arange(end) * LEVELS // end
    used = counts[:end] > 0
    sums = np.bincount(level, counts[:end].astype(np.float64), LEVELS)
    bins = np.bincount(level, used, LEVELS)
    spread = np.where(used, sums[level] / np.maximum(bins[level], 1), 0.0)
    both = (reference > 0) & (spread > 0)
    if (reference > 0).sum() > both.sum():  # values that no level gives back
        return float("inf")
    p, q = reference / reference.sum(), spread / spread.sum()
    return float((p[both] * np.log(p[both] / q[both])).sum())


METHODS: Mapping[Method, Callable[[Magnitudes], float]] = {
    Method.MAX: lambda found: found.largest,
    Method.PERCENTILE: _percentile,
    Method.MSE: _mse,
    Method.ENTROPY: _entropy,
}
