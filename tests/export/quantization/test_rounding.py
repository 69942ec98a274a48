"""Weights in few bits are the nearest that their scale can say, and zeros stay zeros."""

import numpy as np
import pytest

from hyperseg_export.quantization.rounding import LARGEST, in_blocks, per_channel, scale_of
from hyperseg_runtime.contracts.quantization import Scheme

WEIGHT = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32)


@pytest.mark.parametrize("scheme", [Scheme.INT8, Scheme.INT8_WEIGHTS])
def test_each_channel_uses_all_its_levels_and_errs_by_half_a_step(scheme: Scheme) -> None:
    made = per_channel(WEIGHT, 1, scheme)
    assert made.values.dtype == np.int8 and made.scales.shape == (5,)
    assert np.array_equal(np.abs(made.values.astype(int)).max(axis=0), np.full(5, 127))
    assert np.all(np.abs(made.values * made.scales - WEIGHT) <= made.scales * 0.5001)


def test_channels_of_a_convolution_lie_on_its_first_axis() -> None:
    kernel = np.moveaxis(WEIGHT.reshape(8, 8, 1, 5), -1, 0)
    made = per_channel(kernel, 0, Scheme.INT8)
    flat = per_channel(WEIGHT, 1, Scheme.INT8)
    assert np.array_equal(made.values.reshape(5, 64).T, flat.values)
    assert np.array_equal(made.scales, flat.scales)


def test_fp8_keeps_three_bits_after_the_first() -> None:
    made = per_channel(WEIGHT, 1, Scheme.FP8)
    back = made.values.astype(np.float32) * made.scales
    normal = np.abs(made.values.astype(np.float32)) >= 2.0**-6  # the smallest normal number of e4m3
    assert np.all(np.abs(back - WEIGHT)[normal] <= np.abs(WEIGHT)[normal] / 16 * 1.0001)
    assert float(np.abs(made.values.astype(np.float32)).max()) == LARGEST[Scheme.FP8]


def test_each_block_has_its_own_scale() -> None:
    weight = WEIGHT.copy()
    weight[32:] *= 100
    made = in_blocks(weight, 32, Scheme.INT4)
    assert made.scales.shape == (2, 5)
    back = made.values.astype(np.float32).reshape(2, 32, 5) * made.scales[:, None]
    assert np.all(np.abs(back.reshape(64, 5) - weight) <= np.repeat(made.scales, 32, axis=0) * 0.5001)
    assert set(np.unique(made.values.astype(int))) <= set(range(-7, 8))


def test_nothing_but_zeros_has_a_scale_too() -> None:
    made = per_channel(np.zeros((32, 2), np.float32), 1, Scheme.INT8)
    assert not made.values.any() and np.array_equal(made.scales, np.ones(2, np.float32))
    assert scale_of(0.0, Scheme.INT8) == 1
