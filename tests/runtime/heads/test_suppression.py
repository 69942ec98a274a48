"""Non-maximum suppression, against arrays of the original code and by its definition."""

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperseg_runtime.heads.suppression import best_boxes

GOLDEN = Path(__file__).parents[2] / "golden" / "hipie" / "functions.npz"
LIMIT = 0.7


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    return shared / (float(np.prod(a[2:] - a[:2])) + float(np.prod(b[2:] - b[:2])) - shared)


def test_what_the_original_keeps() -> None:
    with np.load(GOLDEN) as stored:
        found = best_boxes(stored["nms_boxes"], stored["nms_scores"], stored["nms_class"], LIMIT)
        assert found.tolist() == stored["nms_keep"].tolist()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_none_kept_covers_another_and_every_other_is_covered_by_a_better_one(seed: int) -> None:
    random = np.random.default_rng(seed)
    corner, size = random.uniform(0, 0.4, (30, 2)), random.uniform(0.3, 0.6, (30, 2))
    boxes = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
    scores, classes = random.permutation(30).astype(np.float32), random.integers(0, 2, 30)
    kept = best_boxes(boxes, scores, classes, LIMIT).tolist()
    assert kept == sorted(kept, key=lambda row: -scores[row])
    margin = 1e-4  # moved boxes are rounded
    for row in range(30):
        better = [k for k in kept if scores[k] > scores[row] and classes[k] == classes[row]]
        closest = max((overlap(boxes[k], boxes[row]) for k in better), default=0.0)
        assert closest <= LIMIT + margin if row in kept else closest > LIMIT - margin


def test_no_boxes() -> None:
    assert best_boxes(np.zeros((0, 4), np.float32), np.zeros(0), np.zeros(0), LIMIT).shape == (0,)
