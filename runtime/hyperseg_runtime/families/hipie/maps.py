"""A class for every pixel, and every pixel in at most one segment (hipie-spec 13.3 to 13.5)."""

from collections.abc import Iterator, Sequence

import numpy as np

from hyperseg_runtime.calls.stopping import may_go_on
from hyperseg_runtime.contracts.results import Segment
from hyperseg_runtime.families.hipie.class_logits import sigmoid_f32
from hyperseg_runtime.families.hipie.options import HipieOptions
from hyperseg_runtime.heads.full_size import full_size
from hyperseg_runtime.heads.panoptic import merge_segments
from hyperseg_runtime.images.preprocessing import ImageGeometry

AT_ONCE = 16
"""Masks at the size of the image at a time."""


def semantic_scores(probabilities: np.ndarray, mask_logits: np.ndarray, geometry: ImageGeometry) -> np.ndarray:
    """Sum over the queries of class probability times mask probability, (K, H, W) float32.

    probabilities (Q, K), mask_logits (Q, h, w) float32 at a quarter of the canvas.
    """
    total = np.zeros((probabilities.shape[1], *geometry.original_hw), np.float32)
    for start in range(0, len(mask_logits), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        masks = np.stack(list(_masks(mask_logits[rows], geometry)))
        total += np.tensordot(probabilities[rows].T, masks, 1)
    return total


def _masks(mask_logits: np.ndarray, geometry: ImageGeometry) -> Iterator[np.ndarray]:
    for logits in mask_logits:
        may_go_on()
        yield sigmoid_f32(full_size(logits, geometry))


def panoptic(
    probabilities: np.ndarray,
    mask_logits: np.ndarray,
    geometry: ImageGeometry,
    things: Sequence[bool],
    options: HipieOptions,
) -> tuple[np.ndarray, tuple[Segment, ...]]:
    """Ids (H, W) int32, 0 for none, and what they mean, numbered from 1 in the order of the queries."""
    labels, scores = probabilities.argmax(1), probabilities.max(1)
    kept = np.flatnonzero(scores > np.float32(options.object_mask_threshold))
    return merge_segments(labels, scores, kept, mask_logits, geometry, things, options.overlap_threshold)
