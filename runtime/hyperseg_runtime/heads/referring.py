"""One expression, one mask: the best-scoring query at the size of the original image (hyperseg-spec 6.8)."""

from dataclasses import dataclass

import numpy as np

from hyperseg_runtime.heads.full_size import certainty, full_size, sigmoid
from hyperseg_runtime.images.preprocessing import ImageGeometry

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

    A pixel belongs to the mask where its logit at the size of the image is above 0.
    """
    logits = full_size(mask_logits, geometry)
    mask = logits > 0
    return ScoredMask(query, mask, float(sigmoid(score_logit)) * certainty(logits[mask]))


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
