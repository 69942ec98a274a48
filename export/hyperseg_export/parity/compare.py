"""How far two arrays are apart, as one number: 0 is equal, infinite is no number at all."""

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


def cosine_distance(found: np.ndarray, expected: np.ndarray) -> float:
    """1 - cosine of the angle between two arrays seen as vectors; for arrays of different precision."""
    if found.shape != expected.shape or not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return float("inf")
    a, b = found.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    if lengths == 0:
        return 0.0 if not (a.any() or b.any()) else 1.0
    return max(0.0, 1.0 - float(a @ b) / lengths)


def decision_regret(found: np.ndarray, expected: np.ndarray, axis: int) -> float:
    """What following `found` loses by `expected`, worst case: the largest value along `axis` minus the one where
    `found` is largest, in units of the range of `expected`. 0 where both choose the same, or equally good ones.
    """
    if found.shape != expected.shape or not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return float("inf")
    wide = expected.astype(np.float64)
    chosen = np.take_along_axis(wide, np.argmax(found, axis, keepdims=True), axis)
    extent = float(wide.max() - wide.min()) or 1.0
    return float((wide.max(axis, keepdims=True) - chosen).max()) / extent


def mask_disagreement(found: np.ndarray, expected: np.ndarray, from_value: float = 0.0) -> float:
    """1 - intersection over union of the masks of two arrays, all masks together: pixels of at least `from_value`."""
    if found.shape != expected.shape or not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return float("inf")
    a, b = found >= from_value, expected >= from_value
    union = int(np.count_nonzero(a | b))
    return 1.0 - int(np.count_nonzero(a & b)) / union if union else 0.0
