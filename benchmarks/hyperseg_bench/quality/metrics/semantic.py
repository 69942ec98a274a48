"""Mean IoU over classes: pixels of all images are counted class by class before anything is divided."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

VOID = -1
"""Class of pixels that belong to none; of the truth they count for nothing, of a prediction they are wrong."""


@dataclass
class ClassPixels:
    """Pixels of one class: of its intersection and of its union."""

    shared: int = 0
    union: int = 0


def class_pixels(predicted: np.ndarray, target: np.ndarray) -> dict[int, ClassPixels]:
    """Of every class that occurs in one of two (H, W) maps of class indices. Raises ValueError for two sizes."""
    if predicted.shape != target.shape:
        raise ValueError(f"expected a map of shape {target.shape}, got {predicted.shape}")
    ours, theirs = predicted[target != VOID], target[target != VOID]
    found: dict[int, ClassPixels] = {}
    for index in np.union1d(ours, theirs).tolist():
        if index != VOID:
            is_ours, is_theirs = ours == index, theirs == index
            shared = int(np.count_nonzero(is_ours & is_theirs))
            found[index] = ClassPixels(shared, int(np.count_nonzero(is_ours | is_theirs)))
    return found


def mean_iou(images: Iterable[Mapping[int, ClassPixels]]) -> float:
    """Mean of the IoU of the classes that occur at all; 0 for none."""
    sums: dict[int, ClassPixels] = {}
    for image in images:
        for index, pixels in image.items():
            total = sums.setdefault(index, ClassPixels())
            total.shared += pixels.shared
            total.union += pixels.union
    return float(np.mean([total.shared / total.union for total in sums.values()])) if sums else 0.0
