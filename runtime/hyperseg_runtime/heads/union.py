"""One expression that may name several objects: the queries that score high enough, together (psalm-spec 7)."""

from dataclasses import dataclass

import numpy as np

from hyperseg_runtime.heads.referring import best_query, score_bounds, score_query
from hyperseg_runtime.images.preprocessing import ImageGeometry

MIN_SCORE = 0.6


@dataclass(frozen=True)
class MaskUnion:
    queries: tuple[int, ...]  # those whose score exceeds the limit; the best one alone where there is none
    mask: np.ndarray  # (H, W) bool, a pixel of any of them
    score: float  # the largest of theirs
    above: int  # how many exceed the limit; 0: by the model's own measure nothing is named
    evaluated: int  # queries that had to be brought to full size


def union_of_queries(
    mask_logits: np.ndarray, score_logits: np.ndarray, geometry: ImageGeometry, min_score: float = MIN_SCORE
) -> MaskUnion:
    """mask_logits (Q, h, w), score_logits (Q,) float32; scores as in `heads.referring`.

    Queries that cannot exceed the limit are not looked at.
    """
    candidates = np.flatnonzero(score_bounds(mask_logits, score_logits, geometry) > min_score).tolist()
    scored = (score_query(mask_logits[query], float(score_logits[query]), geometry, query) for query in candidates)
    mask = np.zeros(geometry.original_hw, np.bool_)
    found: dict[int, float] = {}
    for one in scored:
        if one.score > min_score:
            found[one.query] = one.score
            mask |= one.mask
    if found:
        return MaskUnion(tuple(found), mask, max(found.values()), len(found), len(candidates))
    best = best_query(mask_logits, score_logits, geometry)
    return MaskUnion((best.query,), best.mask, best.score, 0, len(candidates) + best.evaluated)
