"""Rows of regions against those of the original, and what holds for every region."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperseg_runtime.families.psalm.region_points import DRAWN, drawn_pixels, points_of, region_pixels, token_weights
from hyperseg_runtime.images.preprocessing import ImageGeometry, square_geometry

Arrays = Mapping[str, np.ndarray]
SIDE = 160
GOLDEN = Path(__file__).parents[3] / "golden" / "psalm" / "regions.npz"


@pytest.fixture(scope="module")
def golden() -> Arrays:
    with np.load(GOLDEN) as file:
        return dict(file)


def test_masks_at_the_networks_size_are_those_of_the_original(golden: Arrays) -> None:
    geometry = square_geometry(*golden["in_height_width"].tolist(), SIDE)
    height, width = geometry.valid_hw
    raw = golden["in_prompt_masks_raw"].astype(bool)
    for mask, expected in zip(raw[[1, 2]], golden["in_region_masks"][[1, 2]], strict=True):  # mask and box do not grow
        assert np.array_equal(region_pixels(mask, geometry), expected[:height, :width])
        assert not expected[height:].any() and not expected[:, width:].any()


def test_its_own_points_give_its_own_tokens(golden: Arrays) -> None:
    tokens = golden["image_tokens"][0]
    for points, row in zip(golden["region_points"], golden["region_tokens"], strict=True):
        counts = counted(points)
        found = token_weights(counts, len(tokens), (SIDE, SIDE)) @ tokens
        assert np.abs(found - row[0]).max() < 1e-6 * np.ptp(tokens)


def test_its_points_follow_the_rule_of_ours(golden: Arrays) -> None:
    """As many, all inside the region, every pixel of a small one."""
    for points, mask in zip(golden["region_points"], golden["in_region_masks"], strict=True):
        theirs, ours = counted(points), drawn_pixels(mask.astype(np.int64), np.random.default_rng(0))
        for counts in (theirs, ours):
            assert counts.sum() == DRAWN and not counts[mask == 0].any()
            assert np.count_nonzero(counts) == min(DRAWN, int(mask.sum()))


def test_draws_spread_around_what_is_taken_without_them(golden: Arrays) -> None:
    tokens, mask = golden["image_tokens"][0], golden["in_region_masks"][3].astype(np.int64)
    exact = token_weights(mask, len(tokens), (SIDE, SIDE))
    random = np.random.default_rng(1)
    draws = [token_weights(drawn_pixels(mask, random), len(tokens), (SIDE, SIDE)) for _ in range(400)]
    spread = np.std(draws, axis=0)
    assert spread.max() > 1e-4
    assert np.abs(np.mean(draws, axis=0) - exact).max() < 4 * spread.max() / np.sqrt(len(draws))


def test_a_seed_draws_the_same_again() -> None:
    counts = np.ones((30, 40), np.int64)
    first, second, other = (points_of(seed)(counts) for seed in (3, 3, 4))
    assert np.array_equal(first, second) and not np.array_equal(first, other)
    assert np.array_equal(points_of(None)(counts), counts)


def test_every_frame_draws_points_of_its_own() -> None:
    """The first one those that an image would."""
    counts = np.ones((30, 40), np.int64)
    image, first, second = (points_of(seed)(counts) for seed in (3, (3, 0), (3, 1)))
    assert np.array_equal(first, image) and not np.array_equal(second, first)


def test_a_region_that_resizing_would_lose_is_kept() -> None:
    """One pixel of an image that is made smaller by 8."""
    geometry = square_geometry(1280, 960, SIDE)
    for place in ((0, 0), (7, 9), (1279, 959), (641, 333)):
        mask = np.zeros((1280, 960), bool)
        mask[place] = True
        counts = region_pixels(mask, geometry)
        assert np.argwhere(counts).tolist() == [[place[0] // 8, place[1] // 8]]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_weights_add_up_and_lie_near_the_region(height: int, width: int, side: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    mask = random.random((height, width)) < 0.2
    mask[random.integers(height), random.integers(width)] = True
    geometry: ImageGeometry = square_geometry(height, width, 64)
    weights = token_weights(region_pixels(mask, geometry), side * side, geometry.padded_hw)
    assert weights.shape == (side * side,) and weights.min() >= 0 and weights.sum() == pytest.approx(1, abs=1e-5)


def counted(points: np.ndarray) -> np.ndarray:
    """How often each pixel is among stored points, (row, column) / side."""
    counts = np.zeros((SIDE, SIDE), np.int64)
    rows, columns = np.rint(points * SIDE).astype(int).T
    np.add.at(counts, (rows, columns), 1)
    return counts
