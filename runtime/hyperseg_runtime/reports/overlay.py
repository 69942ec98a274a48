"""Drawing a mask on its image."""

import cv2
import numpy as np

COLOUR_RGB = (24, 119, 255)
OPACITY = 0.45
OUTLINE_SHARE = 400
"""The outline is one pixel wide per this many pixels of the image's longest side."""


def draw_overlay(image_hwc_u8: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image with the mask tinted and outlined, (H, W, 3) uint8; the input is left as it is."""
    drawn = image_hwc_u8.copy()
    tint = np.array(COLOUR_RGB, np.float32)
    drawn[mask] = (drawn[mask] * (1 - OPACITY) + tint * OPACITY).astype(np.uint8)
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    thickness = max(1, max(mask.shape) // OUTLINE_SHARE)
    cv2.drawContours(drawn, contours, -1, COLOUR_RGB, thickness)
    return drawn
