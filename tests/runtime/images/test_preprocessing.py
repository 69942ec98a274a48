"""Bit for bit what the original code feeds its networks."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperseg_runtime.images.preprocessing import (
    PADDING_VALUE,
    PIXEL_MEAN,
    PIXEL_STD,
    fitted_size,
    longest_side_square,
    plain_square,
)

SIDES = st.integers(1, 5000)


@pytest.mark.parametrize("kind", ["landscape", "portrait", "square"])
def test_padded_square_equals_the_original(golden_dir: Path, kind: str) -> None:
    with np.load(golden_dir / "preprocess.npz") as golden:
        found, geometry = longest_side_square(golden[f"{kind}_uint8"], 1024)
        assert found.dtype == np.float32 and found.flags.c_contiguous
        assert np.array_equal(found[:, ::8, ::8], golden[f"{kind}_swin_sub8"])
        assert np.array_equal(found[:, :40, :40], golden[f"{kind}_swin_corner"])
        assert np.allclose((found.mean(), found.std()), golden[f"{kind}_swin_mean_std"], rtol=0, atol=MEAN)
        assert geometry.original_hw == golden[f"{kind}_uint8"].shape[:2]
        assert geometry.valid_hw == tuple(golden[f"{kind}_valid_hw"])
        assert geometry.padded_hw == (1024, 1024)


@pytest.mark.parametrize("kind", ["landscape", "portrait", "square"])
def test_plain_square_equals_the_original(golden_dir: Path, kind: str) -> None:
    with np.load(golden_dir / "preprocess.npz") as golden:
        found = plain_square(golden[f"{kind}_uint8"], 384)
        assert found.dtype == np.float32 and found.flags.c_contiguous
        assert np.array_equal(found[:, ::4, ::4], golden[f"{kind}_siglip_sub4"])
        assert np.array_equal(found[:, :40, :40], golden[f"{kind}_siglip_corner"])
        assert np.allclose((found.mean(), found.std()), golden[f"{kind}_siglip_mean_std"], rtol=0, atol=MEAN)


def test_whole_inputs_of_a_golden_run_at_other_sizes(golden_dir: Path) -> None:
    with np.load(golden_dir / "res_image.npz") as golden:
        image = golden["in_image_uint8"]
        padded, geometry = longest_side_square(image, 128)
        assert np.array_equal(padded, golden["in_images"][0])
        assert np.array_equal(plain_square(image, 76), golden["in_images_clip"][0])
        assert geometry.original_hw == tuple(golden["in_height_width"])
        valid = ~golden["in_padding_mask"]
        assert geometry.valid_hw == (valid.any(1).sum(), valid.any(0).sum())


def test_padding_is_grey_below_and_right_of_the_image() -> None:
    found, geometry = longest_side_square(np.full((5, 20, 3), 200, np.uint8), 64)
    assert geometry.valid_hw == (16, 64)
    inside, below = (np.float32(value) - PIXEL_MEAN for value in (200, PADDING_VALUE))
    assert np.array_equal(found[:, :16].reshape(3, -1).T, np.broadcast_to(inside / PIXEL_STD, (1024, 3)))
    assert np.array_equal(found[:, 16:].reshape(3, -1).T, np.broadcast_to(below / PIXEL_STD, (48 * 64, 3)))


def test_black_and_white_become_minus_one_and_one() -> None:
    for value, expected in ((0, -1), (255, 1)):
        found = plain_square(np.full((3, 5, 3), value, np.uint8), 8)
        assert np.array_equal(found, np.full((3, 8, 8), expected, np.float32))


@settings(deadline=None, max_examples=100)
@given(height=SIDES, width=SIDES, side=st.integers(1, 2048))
def test_longest_side_fits_exactly_and_the_other_keeps_the_ratio(height: int, width: int, side: int) -> None:
    found_height, found_width = fitted_size(height, width, side)
    assert max(found_height, found_width) == side
    assert 1 <= min(found_height, found_width) <= side
    exact = side * min(height, width) / max(height, width)
    assert abs(min(found_height, found_width) - max(exact, 1)) <= 0.5 + ROUNDING
    assert (found_height >= found_width) == (height >= width) or found_height == found_width


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 100_000), (100_000, 1), (1, 1024), (3000, 1), (2, 5000)])
def test_extreme_shapes_keep_at_least_one_pixel(size_hw: tuple[int, int]) -> None:
    image = np.zeros((*size_hw, 3), np.uint8)
    found, geometry = longest_side_square(image, 64)
    assert min(geometry.valid_hw) >= 1 and max(geometry.valid_hw) == 64
    assert found.shape == (3, 64, 64) and np.isfinite(found).all()
    assert plain_square(image, 32).shape == (3, 32, 32)


def test_the_image_is_left_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 30, 3), np.uint8)
    before = image.copy()
    longest_side_square(image, 64)
    plain_square(image, 32)
    assert np.array_equal(image, before)


MEAN = 1e-6
"""The golden mean was taken in float64, ours here in float32."""
ROUNDING = 1e-6
"""Two float64 divisions on the way to a number below 2048."""
