"""A class list, every pixel in at most one segment (MaskFormer, arXiv 2107.06278; the rule as PSALM has it)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyperseg_runtime.contracts.results import Segment
from hyperseg_runtime.heads.class_scores import class_probabilities
from hyperseg_runtime.heads.full_size import full_size, sigmoid
from hyperseg_runtime.images.preprocessing import ImageGeometry


@dataclass(frozen=True)
class PanopticRules:
    """The numbers of the merge; these are PSALM's.

    min_score    a query takes part if the probability of its class exceeds it
    min_overlap  a query keeps its pixels if at least this share of its mask is left to it
    """

    min_score: float = 0.8
    min_overlap: float = 0.8


RULES = PanopticRules()


def merge_panoptic(
    class_logits: np.ndarray,
    mask_logits: np.ndarray,
    geometry: ImageGeometry,
    things: Sequence[bool],
    rules: PanopticRules = RULES,
) -> tuple[np.ndarray, tuple[Segment, ...]]:
    """Ids (H, W) int32, 0 for none, and what they mean, numbered from 1 in the order of the queries.

    class_logits (Q, C + 1), mask_logits (Q, h, w) float32 at the network's resolution; things: for each of C classes.
    Each pixel goes to the query of the largest class probability times mask probability; of equal ones to the first.
    It is part of a segment if the mask of that query is there too (probability 0.5 or more). Queries of one stuff class
    become one segment, with the largest of their probabilities as its score.
    """
    probabilities = class_probabilities(class_logits)
    labels, scores = probabilities.argmax(1), probabilities.max(1)
    none = probabilities.shape[1] - 1
    kept = np.flatnonzero((labels != none) & (scores > np.float32(rules.min_score)))
    return merge_segments(labels, scores, kept, mask_logits, geometry, things, rules.min_overlap)


def merge_segments(
    labels: np.ndarray,
    scores: np.ndarray,
    kept: np.ndarray,
    mask_logits: np.ndarray,
    geometry: ImageGeometry,
    things: Sequence[bool],
    min_overlap: float,
) -> tuple[np.ndarray, tuple[Segment, ...]]:
    """The merge alone, as above: of the queries `kept`, whose classes and probabilities are known, (Q,) each."""
    winner, inside, areas = _contest(mask_logits, kept, scores, geometry)
    ids = np.zeros(geometry.original_hw, np.int32)
    segments: list[Segment] = []
    stuff: dict[int, int] = {}
    for query in kept.tolist():
        won = winner == query
        mine = won & inside
        # The original divides all pixels a query won, also those outside its mask, by the area of its mask.
        if not mine.any() or won.sum() / areas[query] < min_overlap:
            continue
        label, score = int(labels[query]), float(scores[query])
        place = len(segments) if things[label] else stuff.setdefault(label, len(segments))
        ids[mine] = place + 1
        if place == len(segments):
            segments.append(Segment(place + 1, label, bool(things[label]), score))
        elif score > segments[place].score:
            segments[place] = Segment(place + 1, label, False, score)
    return ids, tuple(segments)


def _contest(
    mask_logits: np.ndarray, kept: np.ndarray, scores: np.ndarray, geometry: ImageGeometry
) -> tuple[np.ndarray, np.ndarray, dict[int, int]]:
    """The query that wins each pixel (H, W) int64, -1 for none; whether its mask is there (H, W) bool; areas of masks.

    One query after another, so that only one is at full size at a time. Probabilities are rounded to float32 as in the
    original: where they are all 1 the first query wins.
    """
    winner = np.full(geometry.original_hw, -1, np.int64)
    inside = np.zeros(geometry.original_hw, np.bool_)
    best = np.full(geometry.original_hw, -np.inf, np.float32)
    areas: dict[int, int] = {}
    for query in kept.tolist():
        probabilities = sigmoid(full_size(mask_logits[query], geometry)).astype(np.float32)
        mask = probabilities >= np.float32(0.5)
        weighted = scores[query] * probabilities
        better = weighted > best
        winner[better], best[better] = query, weighted[better]
        inside[better] = mask[better]
        areas[query] = int(mask.sum())
    return winner, inside, areas
