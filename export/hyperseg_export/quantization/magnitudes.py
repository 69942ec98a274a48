"""How large the numbers of one activation are: what calibration keeps of it, whatever the count of requests."""

from dataclasses import dataclass

import numpy as np

BINS = 2048


@dataclass(frozen=True)
class Magnitudes:
    """A histogram of sizes, and the largest size in each channel.

    counts      (BINS,) int64: sizes from 0 to `extent`, of a sample of the values
    extent      a power of two, so that histograms can be put together without loss
    channel_max (channels,) float32: exact, of all values
    """

    counts: np.ndarray
    extent: float
    channel_max: np.ndarray

    @property
    def largest(self) -> float:
        return float(self.channel_max.max())

    @classmethod
    def of(cls, sample: np.ndarray, channel_max: np.ndarray) -> "Magnitudes":
        """`sample` holds sizes (0 or more) of finite values, in any shape."""
        extent = _power_of_two(float(channel_max.max()))
        places = np.minimum((sample.reshape(-1) * (BINS / extent)).astype(np.int64), BINS - 1)
        return cls(np.bincount(places, minlength=BINS), extent, channel_max.astype(np.float32))

    def joined(self, other: "Magnitudes") -> "Magnitudes":
        """Both together."""
        extent = max(self.extent, other.extent)
        counts = self._widened(extent) + other._widened(extent)
        return Magnitudes(counts, extent, np.maximum(self.channel_max, other.channel_max))

    def _widened(self, extent: float) -> np.ndarray:
        """Counts over 0..extent, `extent` a multiple of this one's by a power of two."""
        factor = extent / self.extent
        if factor == 1:
            return self.counts
        if factor > BINS:
            return np.concatenate([[self.counts.sum()], np.zeros(BINS - 1, np.int64)])
        merged = self.counts.reshape(-1, int(factor)).sum(axis=1)
        return np.concatenate([merged, np.zeros(BINS - len(merged), np.int64)])

    def sizes(self) -> np.ndarray:
        """The size in the middle of each bin, (BINS,) float64."""
        return (np.arange(BINS) + 0.5) * (self.extent / BINS)


def _power_of_two(size: float) -> float:
    """The smallest power of two above `size`; 1 for 0."""
    return float(2.0 ** np.ceil(np.log2(np.nextafter(size, np.inf)))) if size > 0 else 1.0
