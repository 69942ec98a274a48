"""An image in the middle of a square, and the way back: the input of networks that start from CLIP (unilseg-spec 3)."""

from dataclasses import dataclass

import numpy as np

from hyperseg_runtime.images.warp import ScaleShift, warp_u8

# CLIP's statistics on the 0..1 scale, as OpenAI publishes them.
CLIP_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
CLIP_STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
BARS_RGB = (123, 117, 104)
"""CLIP's mean on the 0..255 scale, rounded: after normalisation the bars are near 0, not 0."""


@dataclass(frozen=True)
class LetterboxGeometry:
    """Where an image lies inside the square it was fitted into (unilseg-spec 3.1)."""

    original_hw: tuple[int, int]
    side_px: int

    @property
    def to_square(self) -> ScaleShift:
        """Pixel positions of the image -> of the square. Position 0 goes to where the image begins, without the half
        pixel that keeps the centres of a resized image in place; the way back undoes the same map."""
        height, width = self.original_hw
        scale = min(self.side_px / height, self.side_px / width)
        return ScaleShift(scale, (self.side_px - height * scale) / 2, (self.side_px - width * scale) / 2)


def letterbox_square(image_hwc_u8: np.ndarray, side_px: int) -> tuple[np.ndarray, LetterboxGeometry]:
    """Fit an image into the middle of a square with bars of CLIP's mean colour, and normalise (unilseg-spec 3.2, 3.3).

    (H, W, 3) uint8 RGB -> (3, side, side) float32. Small images are enlarged. The warp is cubic on uint8
    without antialiasing; constants are exact float32.
    """
    height, width = image_hwc_u8.shape[:2]
    geometry = LetterboxGeometry((height, width), side_px)
    warped = warp_u8(image_hwc_u8, geometry.to_square.inverse(), (side_px, side_px), BARS_RGB)
    return normalised(warped), geometry


def normalised(square_hwc_u8: np.ndarray) -> np.ndarray:
    """(side, side, 3) uint8 -> (3, side, side) float32 by CLIP's statistics (unilseg-spec 3.3)."""
    planes = np.ascontiguousarray(square_hwc_u8.transpose(2, 0, 1)).astype(np.float32)
    planes /= np.float32(255)
    planes -= CLIP_MEAN[:, None, None]
    planes /= CLIP_STD[:, None, None]
    return planes
