"""The definition of mask readout. Every other form is compared with this one."""

from dataclasses import dataclass

import numpy as np

from hyperseg_kernels.mask_readout.axis import TAPS, Axis

QUALITY_EPSILON = 1e-6  # added to the pixel count, as HyperSeg does: an empty mask has quality 0


@dataclass(frozen=True)
class Readout:
    sums: np.ndarray  # (B, Q) of sigmoid(logit) over the pixels inside
    areas: np.ndarray  # (B, Q) int32, pixels inside
    pixels: np.ndarray  # (B, M, H, W) bool, the masks of the queries asked for

    def qualities(self) -> np.ndarray:
        """Mean certainty inside each mask, (B, Q) (hyperseg-spec 6.8)."""
        means: np.ndarray = self.sums / (self.areas + QUALITY_EPSILON)
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
    sums, areas = np.zeros((images, queries)), np.zeros((images, queries), np.int32)
    pixels = np.zeros((*shown.shape, rows.size, columns.size), bool)
    for image, query in np.ndindex(images, queries):
        logits = resampled(mask_logits[image, query].astype(np.float64), rows, columns)
        inside = logits > 0
        sums[image, query] = (1 / (1 + np.exp(-logits[inside]))).sum()
        areas[image, query] = inside.sum()
        pixels[image, shown[image] == query] = inside
    return Readout(sums, areas, pixels)


def resampled(logits: np.ndarray, rows: Axis, columns: Axis) -> np.ndarray:
    """(h, w) -> (H, W)."""
    with np.errstate(invalid="ignore"):  # infinity times a share of 0
        tall = sum(rows.weight[tap][:, None] * logits[rows.index[tap]] for tap in range(TAPS))
        wide: np.ndarray = sum(columns.weight[tap] * tall[:, columns.index[tap]] for tap in range(TAPS))
    return wide
