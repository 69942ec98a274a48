"""Bilinear resizing of float32 maps, equal to PyTorch's `interpolate(align_corners=False)` to the last bits.

OpenCV 5.0 is faster but places its samples 1e-5 px off (3e-4 on logits of range 60), enough to flip mask
pixels against the original; Pillow filters when shrinking, which the original does not.
"""

import numpy as np

from hyperseg_kernels.mask_readout.axis import bilinear_samples
from hyperseg_runtime.calls.stopping import may_go_on

BAND_ELEMENTS = 1 << 16
"""Outputs computed at a time: what is in between stays in the processor's cache (a quarter of the time of 1 << 20 for a
photograph), and a call can be stopped between two bands."""
Samples = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Of each target pixel, as `bilinear_samples` gives them."""


def resize_bilinear(maps: np.ndarray, size_hw: tuple[int, int], first_hw: tuple[int, int] | None = None) -> np.ndarray:
    """(..., h, w) float32 -> (..., H, W) float32; no antialiasing, edges repeated. Of the result only the `first_hw`
    rows and columns, if that is all that is wanted.
    """
    height, width = first_hw or size_hw
    rows = _samples(maps.shape[-2], size_hw[0], height)
    columns = _samples(maps.shape[-1], size_hw[1], width)
    resized = np.empty((*maps.shape[:-2], height, width), np.float32)
    for place in np.ndindex(maps.shape[:-2]):
        # Columns first, as PyTorch does it: of enlarged maps there are few rows, and whole rows are copied after.
        _rows(_columns(maps[place], columns), rows, resized[place])
    return resized


def _samples(source_px: int, target_px: int, first_px: int) -> Samples:
    lower, upper, share = bilinear_samples(source_px, target_px)
    return lower[:first_px], upper[:first_px], share[:first_px]


def _columns(values: np.ndarray, samples: Samples) -> np.ndarray:
    lower, upper, share = samples
    wide = np.take(values, lower, axis=1)
    wide *= 1 - share
    other = np.take(values, upper, axis=1)
    other *= share
    wide += other
    return wide


def _rows(values: np.ndarray, samples: Samples, out: np.ndarray) -> None:
    lower, upper, share = samples
    step = max(BAND_ELEMENTS // max(out.shape[1], 1), 1)
    for start in range(0, out.shape[0], step):
        may_go_on()
        band = slice(start, start + step)
        np.multiply(values[lower[band]], 1 - share[band, None], out=out[band])
        other = values[upper[band]]
        other *= share[band, None]
        out[band] += other
