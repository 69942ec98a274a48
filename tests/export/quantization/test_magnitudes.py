"""What calibration keeps of activations is the same however their values were dealt out, and ranges follow from it."""

import numpy as np
import pytest

from hyperseg_export.quantization.magnitudes import BINS, Magnitudes
from hyperseg_export.quantization.ranges import Method, range_of

VALUES = np.abs(np.random.default_rng(1).normal(size=(4000, 3))).astype(np.float32)


def magnitudes(values: np.ndarray) -> Magnitudes:
    return Magnitudes.of(values, values.max(axis=0))


@pytest.mark.parametrize("factor", [1, 2, 3, 1000, 1e7])
def test_parts_together_are_the_whole(factor: float) -> None:
    """Also where a later part is much larger, so that the bins become wider."""
    first, second = VALUES[:1000], VALUES[1000:] * np.float32(factor)
    joined, whole = magnitudes(first).joined(magnitudes(second)), magnitudes(np.concatenate([first, second]))
    assert joined.extent == whole.extent
    assert np.array_equal(joined.counts, whole.counts)
    assert np.array_equal(joined.channel_max, whole.channel_max)
    assert np.array_equal(second.max(axis=0) if factor > 100 else whole.channel_max, joined.channel_max)


def test_the_largest_is_exact_and_in_the_last_bins_in_use() -> None:
    found = magnitudes(VALUES)
    assert found.largest == VALUES.max()
    assert found.extent / 2 <= found.largest < found.extent
    assert found.counts.sum() == VALUES.size and found.counts[int(found.largest / found.extent * BINS)] > 0


@pytest.mark.parametrize("method", Method)
def test_no_range_is_larger_than_the_largest_value(method: Method) -> None:
    assert 0 < range_of(magnitudes(VALUES), method) <= VALUES.max()


@pytest.mark.parametrize("method", Method)
def test_a_constant_has_itself_as_range_and_zeros_have_none(method: Method) -> None:
    constant = np.full((100, 3), 0.75, np.float32)
    assert range_of(magnitudes(constant), method) == pytest.approx(0.75, rel=1e-3)
    assert range_of(magnitudes(np.zeros((100, 3), np.float32)), method) == 0


def test_a_long_tail_is_cut_off_by_all_but_max() -> None:
    values = np.abs(np.random.default_rng(4).standard_t(3, 200_000)).astype(np.float32)[:, None]
    ranges = {method: range_of(magnitudes(values), method) for method in Method}
    assert ranges[Method.MAX] == values.max()
    assert all(ranges[method] < values.max() / 1.5 for method in Method if method is not Method.MAX), ranges
    assert ranges[Method.PERCENTILE] == pytest.approx(np.quantile(values, 0.9999), rel=0.05)


def test_mse_finds_the_range_with_the_least_error() -> None:
    found = magnitudes(np.concatenate([VALUES.ravel(), [6.0]]).astype(np.float32)[:, None])
    chosen = range_of(found, Method.MSE)

    def error(limit: float) -> float:
        step = limit / 127
        rounded = np.minimum(np.rint(VALUES / step), 127) * step
        return float(((rounded - VALUES) ** 2).sum() + max(0.0, 6.0 - limit) ** 2)

    assert error(chosen) <= min(error(part * 6.0) for part in np.linspace(0.3, 1, 30)) * 1.05
