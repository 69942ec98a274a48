"""One expression, one mask that may be empty: a probability per pixel, cut at a threshold (unilseg-spec 11)."""

from dataclasses import dataclass

import numpy as np

from hyperseg_runtime.images.letterbox import LetterboxGeometry
from hyperseg_runtime.images.warp import warp_f32

THRESHOLD = 0.35


@dataclass(frozen=True)
class BinaryMask:
    probabilities: np.ndarray  # (H, W) float32; cubic interpolation may leave 0..1 by a little
    mask: np.ndarray  # (H, W) bool


def binary_mask(probabilities: np.ndarray, geometry: LetterboxGeometry, threshold: float = THRESHOLD) -> BinaryMask:
    """Probabilities (side, side) float32 over the letterboxed square -> those of the image's pixels, and its mask.

    The probabilities are warped, not the logits; a pixel belongs to the mask where its own is above the
    threshold. Nothing decides whether the thing is there at all: a mask without pixels is an answer.
    """
    warped = warp_f32(probabilities, geometry.to_square, geometry.original_hw)
    return BinaryMask(warped, warped > np.float32(threshold))
