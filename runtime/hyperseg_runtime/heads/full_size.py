"""What all heads do to a query's mask: bring it to the size of the image, and say how certain it is inside."""

import numpy as np

from hyperseg_runtime.calls.stopping import may_go_on
from hyperseg_runtime.images.preprocessing import ImageGeometry
from hyperseg_runtime.images.resizing import BAND_ELEMENTS, resize_bilinear

QUALITY_EPSILON = 1e-6  # added to the pixel count, as in the original: an empty mask has quality 0


def full_size(mask_logits: np.ndarray, geometry: ImageGeometry) -> np.ndarray:
    """Logits (h, w) float32 at the network's resolution -> (H, W) float32 at the image's.

    Up to the padded square, cut to the valid area, then to the original size: the two resizes cannot be merged
    exactly (hyperseg-spec 6.8).
    """
    valid = resize_bilinear(mask_logits, geometry.padded_hw, geometry.valid_hw)
    return resize_bilinear(valid, geometry.original_hw)


def certainty(inside: np.ndarray) -> float:
    """Mean sigmoid of the logits inside a mask, (n,) float32; band by band, as float64 takes twice their memory."""
    total = 0.0
    for start in range(0, inside.size, BAND_ELEMENTS):
        may_go_on()
        total += float(sigmoid(inside[start : start + BAND_ELEMENTS].astype(np.float64)).sum())
    return total / (inside.size + QUALITY_EPSILON)


def sigmoid(x: np.ndarray | float) -> np.ndarray:
    """1 / (1 + exp(-x)) without overflow, float64."""
    x = np.asarray(x, np.float64)
    small = np.exp(-np.abs(x))
    value: np.ndarray = np.where(x >= 0, 1 / (1 + small), small / (1 + small))
    return value
