"""Bilinear resizing of float32 maps, equal to PyTorch's `interpolate(align_corners=False)` to the last bits.

OpenCV 5.0 is faster but places its samples 1e-5 px off (3e-4 on logits of range 60), enough to flip mask
pixels against the original; Pillow filters when shrinking, which the original does not.
"""

import numpy as np


def resize_bilinear(maps: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """(..., h, w) float32 -> (..., H, W) float32; no antialiasing, edges repeated."""
    rows, rows_next, row_weight = _samples(maps.shape[-2], size_hw[0])
    columns, columns_next, column_weight = _samples(maps.shape[-1], size_hw[1])
    weight = row_weight[:, None]
    tall = maps[..., rows, :] * (1 - weight) + maps[..., rows_next, :] * weight
    wide = np.take(tall, columns, axis=-1)
    wide *= 1 - column_weight
    other = np.take(tall, columns_next, axis=-1)
    other *= column_weight
    wide += other
    return wide


def _samples(source: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every target position: lower source index, upper source index, weight of the upper one.

    The scale is float32 and scale * position - 0.5 is rounded once, like the fused multiply-add of
    PyTorch's CPU kernel; a second rounding moves samples by up to 1e-5 px.
    """
    scale = np.float32(source) / np.float32(target)
    position = ((np.arange(target) + 0.5) * np.float64(scale) - 0.5).astype(np.float32)
    position = np.maximum(position, np.float32(0))
    lower = np.minimum(position.astype(np.int64), source - 1)
    upper = np.minimum(lower + 1, source - 1)
    return lower, upper, position - lower.astype(np.float32)
