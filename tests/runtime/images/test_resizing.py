"""Equal to torch's interpolate, which made the masks the model was trained with."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from hyperseg_runtime.images.resizing import resize_bilinear

ROUNDING = 4 * np.finfo(np.float32).eps
"""Of the largest value: both sum four float32 products, in another order."""

SIDES = st.integers(1, 70)


@settings(deadline=None, max_examples=100)
@given(height=SIDES, width=SIDES, new_height=SIDES, new_width=SIDES, seed=st.integers(0, 2**32 - 1))
def test_equals_torch(height: int, width: int, new_height: int, new_width: int, seed: int) -> None:
    check(np.random.default_rng(seed).normal(0, 20, (3, height, width)), (new_height, new_width))


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((256, 256), (1024, 1024)),
        ((1024, 683), (1333, 889)),
        ((683, 1024), (400, 600)),
        ((768, 1024), (3000, 4000)),
        ((1, 1024), (1, 7000)),
        ((1024, 1), (7000, 1)),
        ((1, 1), (5, 7)),
        ((64, 64), (1, 1)),
    ],
)
def test_equals_torch_at_the_sizes_of_real_images(source: tuple[int, int], target: tuple[int, int]) -> None:
    check(np.random.default_rng(0).normal(0, 20, (1, *source)), target)


def test_same_size_changes_nothing() -> None:
    maps = np.random.default_rng(0).normal(size=(2, 9, 13)).astype(np.float32)
    found = resize_bilinear(maps, (9, 13))
    assert np.array_equal(found, maps) and not np.shares_memory(found, maps)


def test_leading_axes_are_kept() -> None:
    maps = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    found = resize_bilinear(maps, (7, 6))
    assert found.shape == (2, 3, 7, 6)
    assert np.array_equal(found[1, 2], resize_bilinear(maps[1, 2], (7, 6)))


def test_the_first_rows_and_columns_are_those_of_the_whole() -> None:
    maps = np.random.default_rng(0).normal(size=(2, 9, 13)).astype(np.float32)
    assert np.array_equal(resize_bilinear(maps, (40, 31), (17, 5)), resize_bilinear(maps, (40, 31))[:, :17, :5])


@settings(deadline=None, max_examples=50)
@given(height=SIDES, width=SIDES, new_height=SIDES, new_width=SIDES)
def test_never_exceeds_its_sources(height: int, width: int, new_height: int, new_width: int) -> None:
    """Bounds of scores lean on this (heads.referring.score_bounds)."""
    maps = np.random.default_rng(height * 71 + width).normal(0, 20, (height, width)).astype(np.float32)
    found = resize_bilinear(maps, (new_height, new_width))
    assert np.abs(found).max() <= np.abs(maps).max() * (1 + ROUNDING)
    assert (resize_bilinear(-np.abs(maps), (new_height, new_width)) <= 0).all()


def check(maps: np.ndarray, size_hw: tuple[int, int]) -> None:
    maps = maps.astype(np.float32)
    expected = interpolate(torch.from_numpy(maps)[None], size_hw, mode="bilinear", align_corners=False)[0].numpy()
    found = resize_bilinear(maps, size_hw)
    assert found.dtype == np.float32 and found.shape == expected.shape
    assert np.abs(found - expected).max() <= ROUNDING * np.abs(maps).max()
