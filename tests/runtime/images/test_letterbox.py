"""Bit for bit what the original code feeds its network."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperseg_runtime.images.letterbox import BARS_RGB, CLIP_MEAN, CLIP_STD, LetterboxGeometry, letterbox_square

GOLDEN = Path(__file__).parents[2] / "golden" / "unilseg"
MATRIX = 5e-6
"""The original makes its matrices from float32 points."""


@pytest.mark.parametrize("kind", ["landscape", "portrait", "square", "large", "small"])
def test_equals_the_original(kind: str) -> None:
    with np.load(GOLDEN / "prepost_480.npz") as golden:
        found, geometry = letterbox_square(golden[f"{kind}_in_uint8"], 480)
        assert found.shape == (3, 480, 480) and found.dtype == np.float32 and found.flags.c_contiguous
        assert np.array_equal(found[:, ::12, ::12], golden[f"{kind}_img_sub12"])
        assert geometry == LetterboxGeometry(tuple(golden[f"{kind}_hw"].tolist()), 480)


@pytest.mark.parametrize("kind", ["landscape", "portrait", "square", "large", "small", "exact"])
def test_positions_go_there_and_back_as_in_the_original(kind: str) -> None:
    with np.load(GOLDEN / "prepost_480.npz") as golden:
        to_square = LetterboxGeometry(tuple(golden[f"{kind}_hw"].tolist()), 480).to_square
        for found, matrix in ((to_square, golden[f"{kind}_mat"]), (to_square.inverse(), golden[f"{kind}_inv"])):
            expected = [[found.scale, 0, found.shift_x], [0, found.scale, found.shift_y]]
            assert np.abs(matrix - expected).max() <= MATRIX


@given(height=st.integers(1, 20_000), width=st.integers(1, 20_000), side=st.integers(1, 1024))
def test_the_image_lies_in_the_middle_and_fills_one_direction(height: int, width: int, side: int) -> None:
    found = LetterboxGeometry((height, width), side).to_square
    assert min(found.shift_y, found.shift_x) == pytest.approx(0, abs=1e-9 * side)
    for extent, shift in ((height, found.shift_y), (width, found.shift_x)):
        assert shift + found.scale * extent + shift == pytest.approx(side)


def test_bars_have_the_rounded_mean_colour() -> None:
    found, geometry = letterbox_square(np.zeros((10, 40, 3), np.uint8), 64)
    bar = (np.float32(BARS_RGB) / np.float32(255) - CLIP_MEAN) / CLIP_STD
    assert geometry.to_square.shift_y == 24
    assert np.array_equal(found[:, :16].reshape(3, -1).T, np.broadcast_to(bar, (16 * 64, 3)))
    assert 0 < np.abs(bar).max() < 0.01


def test_the_image_is_left_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 30, 3), np.uint8)
    before = image.copy()
    letterbox_square(image, 64)
    assert np.array_equal(image, before)
