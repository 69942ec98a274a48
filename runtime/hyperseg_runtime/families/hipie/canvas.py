"""From an image to what the backbone takes, and the way back (hipie-spec 3)."""

import numpy as np
from PIL import Image

from hyperseg_runtime.images.preprocessing import PIXEL_MEAN, PIXEL_STD, ImageGeometry

SHORT_PX, LONG_PX = 1024, 2048
"""The short side becomes the first, unless the long one would exceed the second."""
MASK_STRIDE_PX = 8
"""Masks cover the canvas rounded up to this, at a quarter of its size."""


def resized_hw(height: int, width: int, short_px: int = SHORT_PX, long_px: int = LONG_PX) -> tuple[int, int]:
    """The release's two steps; their order matters for the last bit. A side never falls below one pixel."""
    scale = short_px / min(height, width)
    tall, wide = (float(short_px), scale * width) if height < width else (scale * height, float(short_px))
    if max(tall, wide) > long_px:
        shrink = long_px / max(tall, wide)
        tall, wide = tall * shrink, wide * shrink
    return max(int(tall + 0.5), 1), max(int(wide + 0.5), 1)


def canvas_geometry(
    height: int, width: int, size_multiple: int, short_px: int = SHORT_PX, long_px: int = LONG_PX
) -> tuple[ImageGeometry, tuple[int, int]]:
    """Where an image of this size lies, and the canvas; `padded_hw` is what masks are enlarged to."""
    valid = resized_hw(height, width, short_px, long_px)
    canvas_hw = _rounded_up(valid[0], size_multiple), _rounded_up(valid[1], size_multiple)
    covered = _rounded_up(canvas_hw[0], MASK_STRIDE_PX), _rounded_up(canvas_hw[1], MASK_STRIDE_PX)
    return ImageGeometry((height, width), valid, covered), canvas_hw


def canvas(
    image_hwc_u8: np.ndarray, size_multiple: int, short_px: int = SHORT_PX, long_px: int = LONG_PX
) -> tuple[np.ndarray, ImageGeometry]:
    """RGB (h, w, 3) uint8 -> (3, H, W) float32 and where the image lies.

    Resized by Pillow (bilinear, antialiased when shrinking, uint8), normalised, filled up with zeros at the right and
    at the bottom to multiples of `size_multiple`.
    """
    height, width = image_hwc_u8.shape[:2]
    geometry, canvas_hw = canvas_geometry(height, width, size_multiple, short_px, long_px)
    valid = geometry.valid_hw
    resized = np.asarray(Image.fromarray(image_hwc_u8).resize(valid[::-1], Image.Resampling.BILINEAR))
    pixels = np.zeros((3, *canvas_hw), np.float32)
    normalised = (resized.astype(np.float32) - PIXEL_MEAN) / PIXEL_STD
    pixels[:, : valid[0], : valid[1]] = normalised.transpose(2, 0, 1)
    return pixels, geometry


def _rounded_up(extent: int, multiple: int) -> int:
    return -(-extent // multiple) * multiple
