"""From golden logits to the results of PSALM's own functions, by the heads of the runtime."""

from collections.abc import Sequence

import numpy as np

from hyperseg_export.parity.golden import Arrays, Found
from hyperseg_export.parity.tolerances import UNDECIDED
from hyperseg_runtime.heads.class_scores import class_probabilities
from hyperseg_runtime.heads.full_size import full_size, sigmoid
from hyperseg_runtime.heads.instances import find_instances
from hyperseg_runtime.heads.panoptic import merge_panoptic
from hyperseg_runtime.heads.referring import all_queries, best_query
from hyperseg_runtime.heads.semantic import semantic_scores
from hyperseg_runtime.heads.union import union_of_queries
from hyperseg_runtime.images.preprocessing import ImageGeometry, square_geometry

UNION = "grefcoco_union_thr"


class StoredLogits:
    """Mask logits (Q, h, w) of the original, which say what pixels are decided."""

    def __init__(self, mask_logits: np.ndarray, geometry: ImageGeometry) -> None:
        logits = np.stack([full_size(of_query, geometry) for of_query in mask_logits])
        self._near = np.abs(logits) < UNDECIDED * np.ptp(logits)

    def settled(self, queries: Sequence[int] | np.ndarray, found: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """Masks `found` (M, H, W) bool of so many queries, with what is expected where nothing is decided."""
        return np.where(self._near[list(queries)], expected, found)

    def settled_union(self, queries: Sequence[int], found: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """The same for one mask (H, W) of several queries together."""
        return np.where(self._near[list(queries)].any(0), expected, found)


def geometry_of(arrays: Arrays, side_px: int) -> ImageGeometry:
    height, width = (int(extent) for extent in arrays["in_height_width"])
    return square_geometry(height, width, side_px)


def unpacked(arrays: Arrays, name: str) -> np.ndarray:
    """Masks of `NAME_packed` and `NAME_shape`, bool."""
    shape = arrays[f"{name}_shape"]
    return np.unpackbits(arrays[f"{name}_packed"])[: np.prod(shape)].reshape(shape).astype(bool)


def list_results(class_logits: np.ndarray, mask_logits: np.ndarray, arrays: Arrays, geometry: ImageGeometry) -> Found:
    """Of a class list: maps, segments and instances, as far as they are stored. The logits are those of one image."""
    if "final_panoptic_seg" in arrays:
        things = arrays["in_is_thing"].tolist()
        ids, segments = merge_panoptic(class_logits, mask_logits, geometry, things)
        yield "final_panoptic_seg", ids, arrays["final_panoptic_seg"]
        for name, values in (
            ("id", [one.id for one in segments]),
            ("category_id", [one.class_index for one in segments]),
            ("isthing", [one.is_thing for one in segments]),
        ):
            stored = arrays[f"final_segments_{name}"]
            yield f"final_segments_{name}", np.array(values, stored.dtype), stored
    if "final_scores" in arrays:
        yield from _instances(class_logits, mask_logits, arrays, geometry)
    if "final_sem_seg" in arrays:
        yield from _semantic(class_logits, mask_logits, arrays, geometry)
    if "post_mask_logits" in arrays:
        found = np.stack([full_size(logits, geometry) for logits in mask_logits])
        yield "post_mask_logits", found, arrays["post_mask_logits"]


def _instances(class_logits: np.ndarray, mask_logits: np.ndarray, arrays: Arrays, geometry: ImageGeometry) -> Found:
    """As many as there are queries."""
    things = arrays["in_is_thing"].tolist() if "in_is_thing" in arrays else None
    found = find_instances(class_logits, mask_logits, geometry, things, len(mask_logits))
    stored, theirs = _stored_masks(arrays, geometry, mask_logits), unpacked(arrays, "final_masks")
    different = (found.classes[:, None] != arrays["final_classes"]).astype(float)
    rows = _paired(found.scores, found.masks, arrays["final_scores"], theirs, different)
    yield "final_scores", found.scores, arrays["final_scores"][rows]
    yield "final_classes", found.classes, arrays["final_classes"][rows]
    yield "final_masks_packed", stored.settled(found.queries, found.masks, theirs[rows]), theirs[rows]


def _semantic(class_logits: np.ndarray, mask_logits: np.ndarray, arrays: Arrays, geometry: ImageGeometry) -> Found:
    """In panoptic mode the original resizes masks before they are summed, in semantic mode after (psalm-spec 7)."""
    if "final_panoptic_seg" not in arrays:
        found = np.stack(list(semantic_scores(class_logits, mask_logits, geometry)))
        yield "final_sem_seg", found, arrays["final_sem_seg"]
        return
    masks = np.stack([sigmoid(full_size(logits, geometry)) for logits in mask_logits])
    weights = class_probabilities(class_logits)[:, :-1]
    yield "final_sem_seg", np.einsum("qc,qhw->chw", weights, masks).astype(np.float32), arrays["final_sem_seg"]


def expression_results(
    score_logits: np.ndarray, mask_logits: np.ndarray, arrays: Arrays, geometry: ImageGeometry
) -> Found:
    """Of an expression, score_logits (Q,): every query's mask and score, the best mask, unions."""
    every = all_queries(mask_logits, score_logits, geometry)
    scores, masks = np.array([one.score for one in every], np.float32), np.stack([one.mask for one in every])
    stored, theirs = _stored_masks(arrays, geometry, mask_logits), unpacked(arrays, "final_masks")
    rows = _paired(scores, masks, arrays["final_scores"], theirs)
    yield "final_scores", scores, arrays["final_scores"][rows]
    yield "final_masks_packed", stored.settled(range(len(every)), masks, theirs[rows]), theirs[rows]
    if "best_mask" in arrays:
        best, expected = best_query(mask_logits, score_logits, geometry), arrays["best_mask"].astype(bool)
        yield "best_mask", stored.settled_union([best.query], best.mask, expected), expected
    for name in (name for name in arrays if name.startswith(UNION)):
        union = union_of_queries(mask_logits, score_logits, geometry, float(name.removeprefix(UNION)))
        expected = arrays[name].astype(bool)
        yield name, stored.settled_union(union.queries, union.mask, expected), expected


def region_results(
    region_logits: np.ndarray, mask_logits: np.ndarray, arrays: Arrays, geometry: ImageGeometry
) -> Found:
    """Of regions, region_logits (R, Q): every query's score for each, the best queries, all masks in query order."""
    scored = [all_queries(mask_logits, logits, geometry) for logits in region_logits]
    scores = np.array([[one.score for one in of_region] for of_region in scored], np.float32)
    yield "final_scores", scores.T, arrays["final_scores"]
    stored, theirs = _stored_masks(arrays, geometry, mask_logits), unpacked(arrays, "final_masks")
    masks = np.stack([one.mask for one in scored[0]])
    yield "final_masks_packed", stored.settled(range(len(masks)), masks, theirs), theirs
    if "best_query" in arrays:
        best = [best_query(mask_logits, logits, geometry).query for logits in region_logits]
        yield "best_query", np.array(best), arrays["best_query"]


def _stored_masks(arrays: Arrays, geometry: ImageGeometry, given: np.ndarray) -> StoredLogits:
    """Of a case, or the logits that were given where no network made them."""
    return StoredLogits(arrays["pred_masks"][0] if "pred_masks" in arrays else given, geometry)


def _paired(
    scores: np.ndarray,
    masks: np.ndarray,
    stored_scores: np.ndarray,
    stored: np.ndarray,
    cost: np.ndarray | float = 0.0,
) -> list[int]:
    """Which stored mask is which of ours, each once: stored order has no meaning. `cost` (ours, stored) of a pair comes
    beside the differences of scores and pixels.
    """
    apart = cost + np.abs(scores[:, None] - stored_scores) + (masks[:, None] != stored).mean((2, 3))
    free = list(range(len(stored)))
    return [free.pop(int(of_one[free].argmin())) for of_one in apart]
