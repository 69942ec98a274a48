"""Bilinear resizing of float32 maps, equal to PyTorch's `interpolate(align_corners=False)` to the last bits.

OpenCV 5.0 is faster but places its samples 1e-5 px off (3e-4 on logits of range 60), enough to flip mask
pixels against the original; Pillow filters when shrinking, which the original does not.
"""

import numpy as np

from hyperseg_kernels.mask_readout.axis import bilinear_samples
from hyperseg_runtime.calls.stopping import may_go_on

BAND_ELEMENTS = 1 << 20
"""Outputs computed at a time: what is in between stays small, and a call can be stopped between two bands."""


def resize_bilinear(maps: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """(..., h, w) float32 -> (..., H, W) float32; no antialiasing, edges repeated."""
    rows, rows_next, row_weight = bilinear_samples(maps.shape[-2], size_hw[0])
    columns, columns_next, column_weight = bilinear_samples(maps.shape[-1], size_hw[1])
    resized = np.empty((*maps.shape[:-2], *size_hw), np.float32)
    step = max(BAND_ELEMENTS * size_hw[0] // max(resized.size, 1), 1)
    for start in range(0, size_hw[0], step):
        may_go_on()
        band = slice(start, start + step)
        weight = row_weight[band, None]
        tall = maps[..., rows[band], :] * (1 - weight) + maps[..., rows_next[band], :] * weight
        wide = np.take(tall, columns, axis=-1)
        wide *= 1 - column_weight
        other = np.take(tall, columns_next, axis=-1)
        other *= column_weight
        np.add(wide, other, out=resized[..., band, :])
    return resized
