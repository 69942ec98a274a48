"""One expression, one mask: the best-scoring query at the size of the original image (hyperseg-spec 6.8)."""

from dataclasses import dataclass

import numpy as np

from hyperseg_runtime.calls.stopping import may_go_on
from hyperseg_runtime.images.preprocessing import ImageGeometry
from hyperseg_runtime.images.resizing import BAND_ELEMENTS, resize_bilinear

QUALITY_EPSILON = 1e-6  # added to the pixel count, as in the original: an empty mask has quality 0
ROUNDING_MARGIN = 1e-5
"""Interpolated float32 values may exceed their sources by a few units in the last place (1e-7 each)."""


@dataclass(frozen=True)
class ScoredMask:
    query: int
    mask: np.ndarray  # (H, W) bool
    score: float  # sigmoid of the query's logit times the mean certainty inside its mask


@dataclass(frozen=True)
class BestMask(ScoredMask):
    evaluated: int  # queries that had to be brought to full size


def score_query(mask_logits: np.ndarray, score_logit: float, geometry: ImageGeometry, query: int = 0) -> ScoredMask:
    """Mask and score of one query. mask_logits (h, w) float32 at the network's resolution.

    Up to the padded square, cut to the valid area, then to the original size: the two resizes cannot be
    merged exactly. A pixel belongs to the mask where its logit is above 0.
    """
    padded = resize_bilinear(mask_logits, geometry.padded_hw)
    height, width = geometry.valid_hw
    logits = resize_bilinear(padded[:height, :width], geometry.original_hw)
    mask = logits > 0
    quality = _certainty(logits[mask])
    return ScoredMask(query, mask, float(sigmoid(score_logit)) * quality)


def _certainty(inside: np.ndarray) -> float:
    """Mean sigmoid of the logits inside a mask, (n,) float32; band by band, as float64 takes twice their memory."""
    total = 0.0
    for start in range(0, inside.size, BAND_ELEMENTS):
        may_go_on()
        total += float(sigmoid(inside[start : start + BAND_ELEMENTS].astype(np.float64)).sum())
    return total / (inside.size + QUALITY_EPSILON)


def all_queries(mask_logits: np.ndarray, score_logits: np.ndarray, geometry: ImageGeometry) -> list[ScoredMask]:
    """Every query at full size, in query order. mask_logits (Q, h, w), score_logits (Q,)."""
    return [
        score_query(logits, float(score), geometry, query)
        for query, (logits, score) in enumerate(zip(mask_logits, score_logits, strict=True))
    ]


def best_query(mask_logits: np.ndarray, score_logits: np.ndarray, geometry: ImageGeometry) -> BestMask:
    """The same query, mask and score as the first maximum of `all_queries`, usually for a fraction of the work.

    Queries are visited by falling `score_bounds`; once a score reaches every remaining bound, no other
    query can win.
    """
    bounds = score_bounds(mask_logits, score_logits, geometry)
    best: ScoredMask | None = None
    evaluated = 0
    for query in np.argsort(-bounds, kind="stable").tolist():
        if best is not None and bounds[query] < best.score:
            break
        if best is not None and bounds[query] == 0 == best.score and query > best.query:
            continue  # it scores 0 as well, and ties go to the first query
        candidate = score_query(mask_logits[query], float(score_logits[query]), geometry, query)
        evaluated += 1
        if best is None or (candidate.score, -candidate.query) > (best.score, -best.query):
            best = candidate
    if best is None:
        raise ValueError("there are no queries")
    return BestMask(best.query, best.mask, best.score, evaluated)


def score_bounds(mask_logits: np.ndarray, score_logits: np.ndarray, geometry: ImageGeometry) -> np.ndarray:
    """A value per query that its score cannot exceed, (Q,) float64.

    The certainty inside a mask is a mean of sigmoids, and interpolation never exceeds its largest source:
    score <= sigmoid(score logit) * sigmoid(largest mask logit in the valid area). A query without a
    positive logit has an empty mask and scores exactly 0.
    """
    rows, columns = (
        min(-(-valid * extent // padded) + 1, extent)
        for valid, extent, padded in zip(geometry.valid_hw, mask_logits.shape[1:], geometry.padded_hw, strict=True)
    )
    largest = mask_logits[:, :rows, :columns].max(axis=(1, 2)).astype(np.float64)
    bounds: np.ndarray = sigmoid(score_logits.astype(np.float64)) * sigmoid(largest) * (1 + ROUNDING_MARGIN)
    bounds[largest <= 0] = 0
    return bounds


def sigmoid(x: np.ndarray | float) -> np.ndarray:
    """1 / (1 + exp(-x)) without overflow, float64."""
    x = np.asarray(x, np.float64)
    small = np.exp(-np.abs(x))
    value: np.ndarray = np.where(x >= 0, 1 / (1 + small), small / (1 + small))
    return value
