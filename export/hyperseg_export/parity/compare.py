"""How far two arrays are apart, as one number."""

import numpy as np


def worst_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference in units of the range of `expected`.

    Infinite for different shapes, and where either array holds NaN or infinities.

    Integers and booleans have no tolerance: 0 when all agree, else the share of elements that differ.
    A constant `expected` is compared in units of its value, or of 1 if it is zero.
    """
    if found.shape != expected.shape:
        return float("inf")
    if expected.size == 0:
        return 0.0
    if not np.issubdtype(expected.dtype, np.floating):
        return float(np.mean(found != expected))
    if not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return float("inf")
    wide = expected.astype(np.float64)
    extent = float(wide.max() - wide.min()) or float(np.abs(wide).max()) or 1.0
    return float(np.abs(found.astype(np.float64) - wide).max()) / extent
