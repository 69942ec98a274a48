"""Drawing a mask on its image."""

import cv2
import numpy as np

COLOUR_RGB = (24, 119, 255)
OPACITY = 0.45
OUTLINE_SHARE = 400
"""The outline is one pixel wide per this many pixels of the image's longest side."""
SPOTLIGHT_RGB = (255, 255, 255)
DIMMED = 0.4
"""How bright a spotlight leaves what it is not on."""


def draw_overlay(image_hwc_u8: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image with the mask tinted and outlined, (H, W, 3) uint8; the input is left as it is."""
    drawn = image_hwc_u8.copy()
    tint = np.array(COLOUR_RGB, np.float32)
    drawn[mask] = (drawn[mask] * (1 - OPACITY) + tint * OPACITY).astype(np.uint8)
    return _outlined(drawn, mask, COLOUR_RGB)


def draw_spotlight(image_hwc_u8: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image darkened and the mask as bright as it was, outlined, (H, W, 3) uint8; plain on things of any colour."""
    dark = (image_hwc_u8 * np.float32(DIMMED)).astype(np.uint8)
    return _outlined(np.where(mask[..., None], image_hwc_u8, dark), mask, SPOTLIGHT_RGB)


def _outlined(drawn: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, contours, -1, colour, max(1, max(mask.shape) // OUTLINE_SHARE))
    return drawn
