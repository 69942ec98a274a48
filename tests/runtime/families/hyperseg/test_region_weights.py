"""Regions as means of image tokens, against the points that the original drew."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperseg_runtime.families.hyperseg.region_weights import region_weights

DRAWN = 512


def test_the_originals_rows_are_means_of_the_same_samples(golden_dir: Path) -> None:
    """Solved for how often it drew each cell: whole numbers that add up, one or more for each of ours, 0 for others."""
    with np.load(golden_dir / "regions.npz") as golden:
        tokens, rows = golden["image_tokens"][0].astype(np.float64), golden["region_tokens"][:, 0].astype(np.float64)
        masks = golden["in_region_masks"] > 0
    side = int(len(tokens) ** 0.5)
    one_cell = np.zeros((side * side, side, side), bool)
    one_cell.reshape(side * side, -1)[np.arange(side * side), np.arange(side * side)] = True
    samples = np.stack([region_weights(cell, len(tokens)) @ tokens for cell in one_cell])
    for mask, row in zip(masks, rows, strict=True):
        drawn, *_ = np.linalg.lstsq(samples.T, row, rcond=None)
        counts = np.rint(drawn * DRAWN)
        assert np.abs(drawn * DRAWN - counts).max() < 0.02 and counts.sum() == DRAWN
        ours = region_weights(mask, len(tokens)) @ tokens
        assert np.array_equal(counts > 0, touched(mask, side))
        assert np.abs(ours - row).max() < 0.2 * np.ptp(row)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1), st.sampled_from((1, 4, 25, 729)))
def test_weights_are_shares(height: int, width: int, seed: int, tokens: int) -> None:
    random = np.random.default_rng(seed)
    mask = random.random((height, width)) < 0.3
    mask[random.integers(height), random.integers(width)] = True
    weights = region_weights(mask, tokens)
    assert weights.shape == (tokens,) and weights.dtype == np.float32
    assert weights.min() >= 0 and weights.sum() == pytest.approx(1, abs=1e-5)


def test_a_mask_of_one_place_is_the_token_there() -> None:
    """The first cell's corner is the first token."""
    mask = np.zeros((50, 50), bool)
    mask[:10, :10] = True
    assert region_weights(mask, 25).tolist() == [1.0] + [0.0] * 24


def touched(mask: np.ndarray, side: int) -> np.ndarray:
    """Cells of the grid that hold a pixel of the mask, (side * side,) bool."""
    rows, columns = np.nonzero(mask)
    found = np.zeros((side, side), bool)
    found[rows * side // len(mask), columns * side // mask.shape[1]] = True
    return found.reshape(-1)
