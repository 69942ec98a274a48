"""Every byte as OpenCV 4 makes it, whichever is installed: golden images, and the rule itself, pixel by pixel."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperseg_runtime.images.letterbox import BARS_RGB, LetterboxGeometry
from hyperseg_runtime.images.warp import ScaleShift, warp_f32, warp_u8

GOLDEN = Path(__file__).parents[2] / "golden" / "unilseg"
KINDS = ["landscape", "portrait", "square", "large", "small"]
SIDES = st.integers(1, 12)
IMAGES = st.tuples(SIDES, SIDES, st.integers(0, 2**32 - 1)).map(
    lambda size: np.random.default_rng(size[2]).integers(0, 256, (*size[:2], 3), np.uint8)
)
MAPS = st.builds(ScaleShift, st.floats(0.01, 20), st.floats(-30, 30), st.floats(-30, 30))
ROUNDING = 1e-6
"""Of values up to 1: sums of 16 float32 products, in another order."""


@pytest.mark.parametrize("kind", KINDS)
def test_equals_opencv_4_in_every_byte(kind: str) -> None:
    with np.load(GOLDEN / "prepost_480.npz") as golden:
        warped = letterboxed(golden[f"{kind}_in_uint8"])
        top, left = golden[f"{kind}_corner_yx"]
        assert np.array_equal(warped[::6, ::6], golden[f"{kind}_warp_sub6"])
        assert np.array_equal(warped[top : top + 40, left : left + 40], golden[f"{kind}_warp_corner"])
        assert np.array_equal(warped.sum(axis=(0, 1), dtype=np.int64), golden[f"{kind}_warp_sum"])


@pytest.mark.parametrize("kind", KINDS)
def test_differs_from_opencv_5_by_a_few_levels(kind: str) -> None:
    with np.load(GOLDEN / "prepost_480.npz") as golden, np.load(GOLDEN / "prepost_480_opencv5.npz") as other:
        difference = np.abs(
            letterboxed(golden[f"{kind}_in_uint8"])[::6, ::6].astype(int) - other[f"{kind}_warp_sub6"].astype(int)
        )
    assert 1 <= difference.max() <= 7


@settings(deadline=None, max_examples=60)
@given(image=IMAGES, to_source=MAPS, height=SIDES, width=SIDES)
def test_bytes_follow_the_rule(image: np.ndarray, to_source: ScaleShift, height: int, width: int) -> None:
    found = warp_u8(image, to_source, (height, width), BARS_RGB)
    assert found.dtype == np.uint8 and found.flags.c_contiguous
    for y, x in np.ndindex(height, width):
        (rows, fy), (columns, fx) = sources_of(y, x, to_source)
        weights = fixed_point(fy, fx)
        for channel in range(3):
            total = sum(
                weights[i][j] * value_at(image[:, :, channel], row, column, BARS_RGB[channel])
                for i, row in enumerate(rows)
                for j, column in enumerate(columns)
            )
            assert found[y, x, channel] == min(max((total + 16384) // 32768, 0), 255)


@settings(deadline=None, max_examples=60)
@given(image=IMAGES, to_source=MAPS, height=SIDES, width=SIDES)
def test_floats_follow_the_rule(image: np.ndarray, to_source: ScaleShift, height: int, width: int) -> None:
    plane = (image[:, :, 0] / 255).astype(np.float32)
    found = warp_f32(plane, to_source, (height, width))
    assert found.dtype == np.float32 and found.shape == (height, width)
    for y, x in np.ndindex(height, width):
        (rows, fy), (columns, fx) = sources_of(y, x, to_source)
        expected = sum(
            float(a * b) * value_at(plane, row, column, 0)
            for a, row in zip(cubic(fy), rows, strict=True)
            for b, column in zip(cubic(fx), columns, strict=True)
        )
        assert abs(found[y, x] - expected) <= ROUNDING


@settings(deadline=None, max_examples=40)
@given(image=IMAGES, down=st.integers(-15, 15), right=st.integers(-15, 15), height=SIDES, width=SIDES)
def test_whole_pixels_move_as_they_are(image: np.ndarray, down: int, right: int, height: int, width: int) -> None:
    """Without a shift and at the same size: the identity."""
    found = warp_u8(image, ScaleShift(1, down, right), (height, width), BARS_RGB)
    plane = warp_f32(image[:, :, 1].astype(np.float32), ScaleShift(1, down, right), (height, width))
    for y, x in np.ndindex(height, width):
        expected = [value_at(image[:, :, c], y + down, x + right, BARS_RGB[c]) for c in range(3)]
        assert found[y, x].tolist() == expected
        assert plane[y, x] == value_at(image[:, :, 1], y + down, x + right, 0)


@settings(deadline=None, max_examples=40)
@given(height=SIDES, width=SIDES, to_source=MAPS, size=st.tuples(SIDES, SIDES), level=st.integers(0, 255))
def test_one_colour_stays_that_colour(
    height: int, width: int, to_source: ScaleShift, size: tuple[int, int], level: int
) -> None:
    image = np.full((height, width, 3), level, np.uint8)
    assert (warp_u8(image, to_source, size, (level, level, level)) == level).all()


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 5000), (5000, 1), (3000, 4000)])
def test_extreme_sizes_go_there_and_back(size_hw: tuple[int, int]) -> None:
    geometry = LetterboxGeometry(size_hw, 96)
    assert letterboxed(np.full((*size_hw, 3), 9, np.uint8), 96).shape == (96, 96, 3)
    assert warp_f32(np.ones((96, 96), np.float32), geometry.to_square, size_hw).shape == size_hw


def test_cubic_interpolation_overshoots() -> None:
    step = np.repeat(np.float32([[0, 0, 0, 1, 1, 1]]), 6, axis=0)
    found = warp_f32(step, ScaleShift(0.25, 2, 1), (4, 16))
    assert found.min() < -0.05 and found.max() > 1.05


@given(to_source=MAPS, position=st.floats(-1000, 1000))
def test_the_inverse_goes_back(to_source: ScaleShift, position: float) -> None:
    back = to_source.inverse()
    there = to_source.scale * position + to_source.shift_x
    assert abs(back.scale * there + back.shift_x - position) < 1e-7


def letterboxed(image: np.ndarray, side_px: int = 480) -> np.ndarray:
    geometry = LetterboxGeometry(image.shape[:2], side_px)
    return warp_u8(image, geometry.to_square.inverse(), (side_px, side_px), BARS_RGB)


def value_at(plane: np.ndarray, row: int, column: int, border: int) -> float:
    inside = 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]
    return plane[row, column].item() if inside else border


def sources_of(y: int, x: int, to_source: ScaleShift) -> tuple[tuple[list[int], int], tuple[list[int], int]]:
    """Four rows and their fraction, four columns and theirs. Python rounds halves to even, as the rule does."""
    across = round(to_source.shift_x * 1024) + round(to_source.scale * x * 1024)
    down = round((to_source.scale * y + to_source.shift_y) * 1024)
    (row, fy), (column, fx) = (divmod((position + 16) >> 5, 32) for position in (down, across))
    return ([row - 1, row, row + 1, row + 2], fy), ([column - 1, column, column + 1, column + 2], fx)


def cubic(fraction: int) -> list[Fraction]:
    """The kernel with a = -3/4 as it is usually given, by distance from the position."""
    a = Fraction(-3, 4)

    def weight(distance: Fraction) -> Fraction:
        if distance <= 1:
            return (a + 2) * distance**3 - (a + 3) * distance**2 + 1
        return a * distance**3 - 5 * a * distance**2 + 8 * a * distance - 4 * a

    return [weight(abs(Fraction(fraction, 32) - tap)) for tap in (-1, 0, 1, 2)]


def fixed_point(fy: int, fx: int) -> list[list[int]]:
    weights = [[round(float(np.float32(a * b) * 32768)) for b in cubic(fx)] for a in cubic(fy)]
    excess = sum(map(sum, weights)) - 32768
    later = [(i, j) for i in (2, 3) for j in (2, 3)]
    choose = min if excess > 0 else max
    i, j = choose(later, key=lambda place: weights[place[0]][place[1]])
    weights[i][j] -= excess
    return weights
