"""J and F of DAVIS (arXiv 1704.00675; equal to the davis2017-evaluation package)."""

from dataclasses import dataclass

import cv2
import numpy as np

from hyperseg_bench.quality.metrics.iou import overlap, ratio

BOUNDARY_TOLERANCE = 0.008
"""Of the image's diagonal, rounded up to whole pixels: how far a boundary pixel may lie from its match."""


@dataclass(frozen=True)
class ClipScores:
    """Means over the frames of a clip: region similarity and boundary accuracy."""

    j: float
    f: float

    @property
    def j_and_f(self) -> float:
        return (self.j + self.f) / 2


def clip_scores(predicted: np.ndarray, target: np.ndarray, void: np.ndarray | None = None) -> ClipScores:
    """Masks (T, H, W) bool of one object; the pixels of `void` count for nothing.

    All frames count: in referring video none is given away.
    """
    if predicted.shape != target.shape or not len(target):
        raise ValueError(f"expected masks of shape {target.shape} with one frame or more, got {predicted.shape}")
    if void is not None:
        predicted, target = predicted & ~void, target & ~void
    pairs = list(zip(predicted, target, strict=True))
    return ClipScores(
        float(np.mean([region_similarity(*pair) for pair in pairs])),
        float(np.mean([boundary_accuracy(*pair) for pair in pairs])),
    )


def region_similarity(predicted: np.ndarray, target: np.ndarray) -> float:
    """J: IoU of two (H, W) bool masks; 1 where both are empty."""
    return ratio(*overlap(predicted, target))


def boundary_accuracy(predicted: np.ndarray, target: np.ndarray) -> float:
    """F: harmonic mean of how much of each boundary lies near the other one, (H, W) bool masks."""
    radius = int(np.ceil(BOUNDARY_TOLERANCE * np.linalg.norm(target.shape)))
    found, wanted = boundary(predicted), boundary(target)
    precision, recall = _near(found, wanted, radius), _near(wanted, found, radius)
    if not found.any() or not wanted.any():
        return float(found.any() == wanted.any())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary(mask: np.ndarray) -> np.ndarray:
    """Pixels that differ from their neighbour to the right, below, or diagonally below right, (H, W) bool."""
    east, south, south_east = np.zeros_like(mask), np.zeros_like(mask), np.zeros_like(mask)
    east[:, :-1] = mask[:, 1:]
    south[:-1] = mask[1:]
    south_east[:-1, :-1] = mask[1:, 1:]
    edge: np.ndarray = (mask ^ east) | (mask ^ south) | (mask ^ south_east)
    edge[-1] = mask[-1] ^ east[-1]
    edge[:, -1] = mask[:, -1] ^ south[:, -1]
    edge[-1, -1] = False
    return edge


def _near(edge: np.ndarray, other: np.ndarray, radius: int) -> float:
    """Part of `edge` within `radius` pixels of `other`; 0 for no edge."""
    axis = np.arange(-radius, radius + 1)
    disk = (axis[:, None] ** 2 + axis[None, :] ** 2 <= radius**2).astype(np.uint8)
    reach = cv2.dilate(other.astype(np.uint8), disk) > 0
    matched, all_of_it = int(np.count_nonzero(edge & reach)), int(np.count_nonzero(edge))
    return matched / max(1, all_of_it)
