"""Of boxes of one class that overlap, the best: greedy non-maximum suppression."""

import numpy as np


def best_boxes(boxes_xyxy: np.ndarray, scores: np.ndarray, classes: np.ndarray, max_overlap: float) -> np.ndarray:
    """Rows that stay, by falling score (of equal ones in their order), (M,) int64.

    boxes_xyxy (N, 4), scores (N,) float32, classes (N,). A box falls if its intersection over union with a better one
    of its class exceeds `max_overlap`. Classes are kept apart as torchvision does it, by moving each to a place of its
    own: what rounding that adds decides between boxes at the limit.
    """
    if not len(boxes_xyxy):
        return np.zeros(0, np.int64)
    boxes = boxes_xyxy.astype(np.float32)
    moved = boxes + (classes.astype(np.float32) * (boxes.max() + np.float32(1)))[:, None]
    areas = (moved[:, 2] - moved[:, 0]) * (moved[:, 3] - moved[:, 1])
    left, kept = np.argsort(-scores, kind="stable"), []
    while left.size:
        best, left = left[0], left[1:]
        kept.append(int(best))
        low = np.maximum(moved[best, :2], moved[left, :2])
        high = np.minimum(moved[best, 2:], moved[left, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        left = left[shared / (areas[best] + areas[left] - shared) <= np.float32(max_overlap)]
    return np.array(kept, np.int64)
