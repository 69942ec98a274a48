"""A class list, the most certain pairs of query and class (arXiv 2112.01527; the result as PSALM has it)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyperseg_runtime.heads.class_scores import class_probabilities
from hyperseg_runtime.heads.full_size import certainty, full_size
from hyperseg_runtime.images.preprocessing import ImageGeometry

MOST = 100
"""COCO counts so many instances of an image; PSALM keeps as many."""


@dataclass(frozen=True)
class FoundInstances:
    """Best first. A query may stand for several classes, and masks may overlap."""

    queries: np.ndarray  # (M,) int64
    classes: np.ndarray  # (M,) int64
    scores: np.ndarray  # (M,) float32: class probability times certainty inside the mask
    masks: np.ndarray  # (M, H, W) bool


def find_instances(
    class_logits: np.ndarray,
    mask_logits: np.ndarray,
    geometry: ImageGeometry,
    things: Sequence[bool] | None = None,
    most: int = MOST,
    min_score: float = 0.0,
) -> FoundInstances:
    """class_logits (Q, C + 1), mask_logits (Q, h, w) float32 at the network's resolution.

    The `most` largest class probabilities are taken first; of those, what is no thing is left out where `things` says
    so. That order is the original's: stuff takes places that things do not get. Pairs that cannot reach `min_score`, as
    their probability is below it, are left out before their masks are made.
    """
    probabilities = class_probabilities(class_logits)[:, :-1]
    classes = probabilities.shape[1]
    order = np.argsort(-probabilities, axis=None, kind="stable")[:most]
    if things is not None:
        order = order[np.asarray(things, np.bool_)[order % classes]]
    order = order[probabilities.reshape(-1)[order] >= min_score]
    queries, labels = np.divmod(order, classes)
    masks = np.zeros((len(order), *geometry.original_hw), np.bool_)
    scores = probabilities.reshape(-1)[order].astype(np.float32)
    for query in dict.fromkeys(queries.tolist()):
        logits = full_size(mask_logits[query], geometry)
        mask, rows = logits > 0, queries == query
        masks[rows] = mask
        scores[rows] *= np.float32(certainty(logits[mask]))
    best = np.argsort(-scores, kind="stable")
    return FoundInstances(queries[best], labels[best], scores[best], masks[best])
