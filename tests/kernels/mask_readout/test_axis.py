"""Four taps against the two resizes they stand for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperseg_kernels.mask_readout.axis import axis
from hyperseg_runtime.images.resizing import resize_bilinear

SIZES = st.tuples(*[st.integers(1, most) for most in (40, 200, 200)])


@settings(deadline=None, max_examples=150)
@given(SIZES, st.data())
def test_equals_two_resizes_with_a_cut_between(sizes: tuple[int, int, int], data: st.DataObject) -> None:
    source, padded, original = sizes
    valid = data.draw(st.integers(1, padded))
    made = axis(source, padded, valid, original)
    line = np.random.default_rng(source).normal(0, 1, (1, source)).astype(np.float32)
    expected = resize_bilinear(resize_bilinear(line, (1, padded))[:, :valid], (1, original))
    found = (made.weight * line[0][made.index]).sum(0)
    np.testing.assert_allclose(found, expected[0], rtol=0, atol=1e-6 * np.abs(line).max())  # 4 roundings of 6e-8


@settings(deadline=None, max_examples=100)
@given(SIZES)
def test_shares_are_not_negative_and_make_a_whole(sizes: tuple[int, int, int]) -> None:
    source, padded, original = sizes
    made = axis(source, padded, padded, original)
    assert made.index.shape == made.weight.shape == (4, original) and made.size == original
    assert (made.index.dtype, made.weight.dtype) == (np.int32, np.float32)
    assert made.index.min() >= 0 and made.index.max() < source
    assert made.weight.min() >= 0
    assert made.weight.sum(0) == pytest.approx(1, abs=3e-7)


def test_one_bilinear_resize_is_something_else() -> None:
    """Why there are four taps: a pixel between two of the padded map has three sources."""
    made = axis(8, 32, 32, 21)
    sources = [len(set(made.index[made.weight[:, pixel] > 0, pixel])) for pixel in range(21)]
    assert max(sources) == 3


@pytest.mark.parametrize("sizes", [(0, 32, 32, 20), (8, 32, 0, 20), (8, 32, 33, 20), (8, 32, 32, -1)])
def test_sizes_that_mean_nothing_are_refused(sizes: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="sizes must be at least 1 px"):
        axis(*sizes)
