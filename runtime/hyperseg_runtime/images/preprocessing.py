"""Image -> network inputs, and how to find the way back. Profiles that families choose from."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

# ImageNet statistics on the 0..255 scale, as Detectron2 and the release write them.
PIXEL_MEAN = np.array([123.675, 116.28, 103.53], np.float32)
PIXEL_STD = np.array([58.395, 57.12, 57.375], np.float32)
PADDING_VALUE = 128


@dataclass(frozen=True)
class ImageGeometry:
    """Where an image lies inside the padded square it was resized into."""

    original_hw: tuple[int, int]
    valid_hw: tuple[int, int]
    padded_hw: tuple[int, int]


def longest_side_square(image_hwc_u8: np.ndarray, side_px: int) -> tuple[np.ndarray, ImageGeometry]:
    """Fit the longest side to `side_px`, pad right and below with 128, normalise (hyperseg-spec 3.1).

    (H, W, 3) uint8 -> (3, side, side) float32. Small images are enlarged. Resizing is PIL bilinear on
    uint8 (antialiased when shrinking); constants are exact float32.
    """
    height, width = image_hwc_u8.shape[:2]
    valid_hw = fitted_size(height, width, side_px)
    resized = _resize(image_hwc_u8, valid_hw, Image.Resampling.BILINEAR)
    padded = np.full((side_px, side_px, 3), PADDING_VALUE, np.uint8)
    padded[: valid_hw[0], : valid_hw[1]] = resized
    normalised = (padded.astype(np.float32) - PIXEL_MEAN) / PIXEL_STD
    geometry = ImageGeometry((height, width), valid_hw, (side_px, side_px))
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)), geometry


def fitted_size(height: int, width: int, side_px: int) -> tuple[int, int]:
    """Size after scaling the longest side to `side_px`, by the release's two-step rule.

    First the shortest side is scaled to `side_px`, then both are scaled down to fit; the order matters
    for the last bit. A side never falls below one pixel.
    """
    scale = side_px / min(height, width)
    new_height, new_width = scale * height, scale * width
    longest = max(new_height, new_width)
    if longest > side_px:
        shrink = side_px / longest
        new_height, new_width = new_height * shrink, new_width * shrink
    return max(int(new_height + 0.5), 1), max(int(new_width + 0.5), 1)


def plain_square(image_hwc_u8: np.ndarray, side_px: int) -> np.ndarray:
    """Stretch to `side_px` x `side_px`, scale to -1..1 (hyperseg-spec 3.2).

    (H, W, 3) uint8 -> (3, side, side) float32. PIL bicubic on uint8; the aspect ratio is not kept.
    """
    resized = _resize(image_hwc_u8, (side_px, side_px), Image.Resampling.BICUBIC)
    scaled = (resized.astype(np.float32) / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def _resize(image_hwc_u8: np.ndarray, size_hw: tuple[int, int], method: Image.Resampling) -> np.ndarray:
    return np.asarray(Image.fromarray(image_hwc_u8).resize((size_hw[1], size_hw[0]), method))
