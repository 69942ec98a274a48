"""Panoptic quality (arXiv 1801.00868; equal to the panopticapi package)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

VOID = 0
"""Number of pixels that belong to no segment."""
MATCH_IOU = 0.5
"""A pair of segments above it is a match; no segment can have two."""


@dataclass(frozen=True)
class Segment:
    """A segment of a panoptic map: its number there, and its category. A crowd is an unlabelled heap of things."""

    number: int
    category: int
    crowd: bool = False


@dataclass
class CategoryCounts:
    iou: float = 0.0
    matched: int = 0
    surplus: int = 0
    missed: int = 0

    @property
    def seen(self) -> bool:
        return self.matched + self.surplus + self.missed > 0

    @property
    def quality(self) -> float:
        """Mean IoU of the matches times F1: sum of IoU / (TP + FP / 2 + FN / 2)."""
        total = self.matched + 0.5 * self.surplus + 0.5 * self.missed
        return self.iou / total if total else 0.0


class PanopticCounts:
    """Gathers image after image; the metric can be read at any time."""

    def __init__(self) -> None:
        self.categories: dict[int, CategoryCounts] = {}

    def add(
        self,
        predicted: np.ndarray,
        predicted_segments: Sequence[Segment],
        target: np.ndarray,
        target_segments: Sequence[Segment],
    ) -> None:
        """Maps (H, W) of segment numbers, `VOID` where there is none.

        Raises ValueError for maps of two sizes, and for a segment without pixels or pixels without a segment.
        """
        if predicted.shape != target.shape:
            raise ValueError(f"expected a map of shape {target.shape}, got {predicted.shape}")
        found, wanted = _areas(predicted, predicted_segments), _areas(target, target_segments)
        shared = _overlaps(predicted, target)
        matched: set[tuple[int, int]] = set()
        for theirs in target_segments:
            for ours in predicted_segments:
                if theirs.crowd or ours.category != theirs.category:
                    continue
                both = shared.get((ours.number, theirs.number), 0)
                on_void = shared.get((ours.number, VOID), 0)
                union = found[ours.number] + wanted[theirs.number] - both - on_void
                if both > MATCH_IOU * union:
                    counts = self._of(theirs.category)
                    counts.matched += 1
                    counts.iou += both / union
                    matched.add((ours.number, theirs.number))
        hit, used = {theirs for _, theirs in matched}, {ours for ours, _ in matched}
        for theirs in target_segments:
            if theirs.number not in hit and not theirs.crowd:
                self._of(theirs.category).missed += 1
        for ours in predicted_segments:
            if ours.number not in used and not self._excused(ours, target_segments, shared, found):
                self._of(ours.category).surplus += 1

    def quality(self, categories: Collection[int] | None = None) -> float:
        """PQ: mean over the categories (of those given) that occur in a prediction or a target; 0 for none."""
        wanted = self.categories if categories is None else categories
        values = [self.categories[c].quality for c in wanted if c in self.categories and self.categories[c].seen]
        return float(np.mean(values)) if values else 0.0

    def _of(self, category: int) -> CategoryCounts:
        return self.categories.setdefault(category, CategoryCounts())

    @staticmethod
    def _excused(
        ours: Segment, targets: Sequence[Segment], shared: dict[tuple[int, int], int], areas: dict[int, int]
    ) -> bool:
        """Mostly on void or on a crowd of its category: nobody can say that it is wrong.

        Of several crowds of a category the last one counts, as in panopticapi; COCO has one at most.
        """
        crowds = [segment.number for segment in targets if segment.crowd and segment.category == ours.category]
        allowed = [VOID, *crowds[-1:]]
        return sum(shared.get((ours.number, number), 0) for number in allowed) > MATCH_IOU * areas[ours.number]


def _areas(numbers: np.ndarray, segments: Sequence[Segment]) -> dict[int, int]:
    found, counts = np.unique(numbers, return_counts=True)
    areas = {int(n): int(c) for n, c in zip(found, counts, strict=True) if n != VOID}
    named = [segment.number for segment in segments]
    if sorted(named) != sorted(areas):
        raise ValueError(f"the map holds the segments {sorted(areas)}, those given are {sorted(named)}")
    return areas


def _overlaps(predicted: np.ndarray, target: np.ndarray) -> dict[tuple[int, int], int]:
    """Pixels that each pair of numbers shares."""
    pairs, counts = np.unique(np.stack((predicted.ravel(), target.ravel())), axis=1, return_counts=True)
    return {(int(ours), int(theirs)): int(count) for (ours, theirs), count in zip(pairs.T, counts, strict=True)}
