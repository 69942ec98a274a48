"""Masks of several objects of one frame as one map: each pixel is of one object, or of none."""

import numpy as np


def shared_out(probabilities: np.ndarray) -> np.ndarray:
    """Number of the likeliest object of each pixel, from 1, (H, W) int64; 0 where "none of them" is likeliest.

    probabilities (K, H, W) float32. None of them: the product of what each object leaves (instructseg-spec 5). The
    first of equal ones wins, none of them before all: in float32, as in the original, near 1 many are equal.
    """
    nothing = np.prod(1 - probabilities, axis=0, keepdims=True, dtype=probabilities.dtype)
    numbers: np.ndarray = np.concatenate([nothing, probabilities]).argmax(axis=0)
    return numbers


def painted(masks: np.ndarray) -> np.ndarray:
    """Number of the last object that covers each pixel, from 1, (H, W) int64; 0 for none. masks (K, H, W) bool."""
    numbers = np.arange(1, len(masks) + 1)[:, None, None]
    covered: np.ndarray = (masks * numbers).max(axis=0, initial=0)
    return covered
