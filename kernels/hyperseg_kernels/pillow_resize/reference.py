"""The definition of the resize. Every other form gives the same bytes."""

import numpy as np

from hyperseg_kernels.pillow_resize.axis import WEIGHT_BITS, Axis, Tables


def resize(pixels: np.ndarray, tables: Tables) -> np.ndarray:
    """pixels (B, h, w, C), whole numbers 0 to 255 of any type -> (B, H, W, C) of the same type. Every pass is rounded
    to bytes.
    """
    begun = _along(pixels.astype(np.int64), tables.first_rows, 1)
    wide = _along(begun, tables.columns, 2)
    return _along(wide, tables.last_rows, 1).astype(pixels.dtype)


def _along(pixels: np.ndarray, table: Axis, dimension: int) -> np.ndarray:
    weights = table.weight.astype(np.int64)
    total = np.array(1 << (WEIGHT_BITS - 1))
    for index, weight in zip(table.index, weights, strict=True):
        total = total + np.take(pixels, index, dimension) * weight.reshape([-1] + [1] * (3 - dimension))
    clipped: np.ndarray = np.clip(total >> WEIGHT_BITS, 0, 255)
    return clipped
