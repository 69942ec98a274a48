"""bfloat16 on the host: the upper half of a float32. NumPy has no such type; its bits travel as uint16."""

import numpy as np


def to_bits(values: np.ndarray) -> np.ndarray:
    """float32 -> uint16 of the same shape, rounded to the nearest, ties to even; NaN stays NaN."""
    bits = np.asarray(values, np.float32).view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    return np.where(np.isnan(values), 0x7FC0, rounded).astype(np.uint16)


def from_bits(bits: np.ndarray) -> np.ndarray:
    """uint16 -> float32 of the same shape, exactly."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
