"""Intersection over union of referring segmentation: three ways to average."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass
class IouSums:
    """Gathers pairs of masks; the metrics can be read at any time.

    ciou  all intersections over all unions: large objects weigh more (RefCOCO's "oIoU")
    miou  mean of the pairs' IoU; a pair without any pixel counts 1, as nothing was missed
    giou  the same with gRefCOCO's rule for expressions that name nothing: 1 for an empty prediction, else 0
          (which `miou` gives as well: an empty target's IoU with any pixel is 0). Kept apart because the two
          are printed under different names; both are 0 before anything was added.
    """

    intersections: int = 0
    unions: int = 0
    total: float = 0.0
    pairs: int = 0

    def add(self, predicted: np.ndarray, target: np.ndarray, void: np.ndarray | None = None) -> float:
        """Count one pair of bool masks of equal shape, without the pixels of `void`; returns its IoU."""
        return self.add_counts(*overlap(predicted, target, void))

    def add_counts(self, shared: int, union: int) -> float:
        """Count one pair by its pixels of intersection and union; returns its IoU."""
        iou = ratio(shared, union)
        self.intersections += shared
        self.unions += union
        self.total += iou
        self.pairs += 1
        return iou

    @property
    def ciou(self) -> float:
        return ratio(self.intersections, self.unions) if self.pairs else 0.0

    @property
    def miou(self) -> float:
        return self.total / self.pairs if self.pairs else 0.0

    @property
    def giou(self) -> float:
        return self.miou


def overlap(predicted: np.ndarray, target: np.ndarray, void: np.ndarray | None = None) -> tuple[int, int]:
    """Pixels of the intersection and of the union. Raises ValueError for masks that do not fit each other."""
    for mask in (predicted, target, *([] if void is None else [void])):
        if mask.dtype != np.bool_ or mask.shape != target.shape:
            raise ValueError(f"expected bool masks of shape {target.shape}, got {mask.dtype} {mask.shape}")
    valid = np.ones(target.shape, np.bool_) if void is None else ~void
    shared = int(np.count_nonzero(predicted & target & valid))
    union = int(np.count_nonzero((predicted | target) & valid))
    return shared, union


def ratio(shared: int, union: int) -> float:
    """IoU from counts; 1 where there is nothing to find and nothing was found."""
    return shared / union if union else 1.0


def ciou(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """Cumulative IoU of (predicted, target) pairs."""
    sums = IouSums()
    for predicted, target in pairs:
        sums.add(predicted, target)
    return sums.ciou


def miou(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """Mean IoU of (predicted, target) pairs."""
    sums = IouSums()
    for predicted, target in pairs:
        sums.add(predicted, target)
    return sums.miou
