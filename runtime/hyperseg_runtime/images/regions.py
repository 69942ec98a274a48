"""Regions of an image that were pointed at, as masks: what a prompt by region is made from.

A point becomes a disc of 10 pixels radius, a scribble grows by 5 pixels on each side, boxes and masks stay as they are
(PSALM, arXiv 2403.14598, draws its interactive prompts so at the size of the image).
"""

import math

import cv2
import numpy as np

from hyperseg_runtime.contracts.requests import Regions
from hyperseg_runtime.errors import InputError

POINT_RADIUS_PX = 10
SCRIBBLE_RADIUS_PX = 5


def region_masks(regions: Regions, image_hw: tuple[int, int]) -> list[np.ndarray]:
    """One (H, W) bool mask for each region: points first, then boxes, scribbles, masks; none without a pixel.

    Raises InputError for a region outside the image, a box without area, or a mask of another size.
    """
    height, width = image_hw
    size = f"the image has {width} x {height} px"
    found = []
    for x, y in regions.points_xy:
        if not (0 <= x < width and 0 <= y < height):
            raise InputError(f"the point {x:g},{y:g} lies outside the image: {size}")
        dot = np.zeros(image_hw, np.bool_)
        dot[int(y), int(x)] = True
        found.append(_grown(dot, POINT_RADIUS_PX))
    for box in regions.boxes_xyxy:
        found.append(_box(box, image_hw, size))
    for kind, masks, radius in (("scribble", regions.scribbles, SCRIBBLE_RADIUS_PX), ("mask", regions.masks, 0)):
        for number, mask in enumerate(masks, 1):
            if mask.shape != image_hw or mask.dtype != np.bool_:
                raise InputError(f"{kind} {number} is {mask.dtype} {mask.shape}, expected bool {image_hw}: {size}")
            if not mask.any():
                raise InputError(f"{kind} {number} marks no pixel")
            found.append(_grown(mask, radius) if radius else mask)
    return found


def region_names(regions: Regions) -> tuple[str, ...]:
    """How each region is called in results, in the same order."""
    return (
        *(f"point {x:g},{y:g}" for x, y in regions.points_xy),
        *(f"box {','.join(f'{edge:g}' for edge in box)}" for box in regions.boxes_xyxy),
        *(f"scribble {number}" for number in range(1, len(regions.scribbles) + 1)),
        *(f"mask {number}" for number in range(1, len(regions.masks) + 1)),
    )


def _box(box: tuple[float, float, float, float], image_hw: tuple[int, int], size: str) -> np.ndarray:
    """Every pixel that the box touches."""
    x0, y0, x1, y1 = box
    name = f"the box {x0:g},{y0:g},{x1:g},{y1:g}"
    if not (x1 > x0 and y1 > y0):
        raise InputError(f"{name} has no area: expected x0,y0,x1,y1 with x1 > x0 and y1 > y0")
    if x0 < 0 or y0 < 0 or x1 > image_hw[1] or y1 > image_hw[0]:
        raise InputError(f"{name} reaches outside the image: {size}")
    mask = np.zeros(image_hw, np.bool_)
    mask[int(y0) : math.ceil(y1), int(x0) : math.ceil(x1)] = True
    return mask


def _grown(mask: np.ndarray, radius: int) -> np.ndarray:
    """All pixels within `radius` of the mask's."""
    rows, columns = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disc = (rows**2 + columns**2 <= radius**2).astype(np.uint8)
    return cv2.dilate(mask.astype(np.uint8), disc, borderType=cv2.BORDER_CONSTANT, borderValue=0).astype(np.bool_)
