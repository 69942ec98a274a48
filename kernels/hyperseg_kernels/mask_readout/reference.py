"""The definition of mask readout. Every other form is compared with this one."""

from dataclasses import dataclass

import numpy as np

from hyperseg_kernels.mask_readout.axis import TAPS, Axis

QUALITY_EPSILON = 1e-6  # added to the pixel count, as HyperSeg does: an empty mask has quality 0
PARTS = 32
"""What a mask adds up to is told in so many parts, and adding them is the caller's: part p has rows p, p + PARTS, ...
Each is another block of a GPU, and the sum is the same in every run. `kParts` in csrc/masks.h."""


@dataclass(frozen=True)
class Readout:
    sums: np.ndarray  # (B, Q, PARTS) of sigmoid(logit) over the pixels inside
    areas: np.ndarray  # (B, Q, PARTS) int32, pixels inside
    pixels: np.ndarray  # (B, M, H, W) bool, the masks of the queries asked for

    def qualities(self) -> np.ndarray:
        """Mean certainty inside each mask, (B, Q) (hyperseg-spec 6.8)."""
        means: np.ndarray = self.sums.sum(-1) / (self.areas.sum(-1) + QUALITY_EPSILON)
        return means


def read_masks(mask_logits: np.ndarray, shown: np.ndarray, rows: Axis, columns: Axis) -> Readout:
    """What each query's mask adds up to at the size of the image, and the masks of some queries.

    mask_logits (B, Q, h, w)  at the network's resolution
    shown       (B, M)        integers, the queries whose pixels are wanted; M may be 0
    rows        H positions over h source pixels, columns W over w; see `axis.axis`

    A pixel is inside where its resampled logit is above 0; NaN is not. Computes in float64.
    """
    if shown.size and not (shown.min() >= 0 and shown.max() < mask_logits.shape[1]):
        raise ValueError(f"shown names query {shown.max()}, there are {mask_logits.shape[1]}")
    images, queries = mask_logits.shape[:2]
    sums = np.zeros((images, queries, PARTS))
    areas = np.zeros(sums.shape, np.int32)
    pixels = np.zeros((*shown.shape, rows.size, columns.size), bool)
    for image, query in np.ndindex(images, queries):
        logits = resampled(mask_logits[image, query].astype(np.float64), rows, columns)
        inside = logits > 0
        certainty = np.where(inside, 1 / (1 + np.exp(-np.where(inside, logits, 0))), 0)
        for part in range(PARTS):
            sums[image, query, part] = certainty[part::PARTS].sum()
            areas[image, query, part] = inside[part::PARTS].sum()
        pixels[image, shown[image] == query] = inside
    return Readout(sums, areas, pixels)


def resampled(logits: np.ndarray, rows: Axis, columns: Axis) -> np.ndarray:
    """(h, w) -> (H, W)."""
    with np.errstate(invalid="ignore"):  # infinity times a share of 0
        tall = sum(rows.weight[tap][:, None] * logits[rows.index[tap]] for tap in range(TAPS))
        wide: np.ndarray = sum(columns.weight[tap] * tall[:, columns.index[tap]] for tap in range(TAPS))
    return wide
