"""How much a number of many items changed between two evaluations, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyperseg_bench.quality.comparison import Pair, standard_error
from hyperseg_runtime.contracts.results import decode_rle

NORMAL_95 = 1.96


@dataclass(frozen=True)
class PairedDrop:
    """The mean loss of a measure's main number from before to after, in points of a hundred; above 0 it became worse.

    interval  95 %, from the `standard_error`
    """

    measure: str
    metric: str
    items: int
    before: float
    after: float
    drop: float
    interval: tuple[float, float]


def paired_drops(pairs: Sequence[Pair]) -> list[PairedDrop]:
    """One for each measure, in the order of the items."""
    measures = list(dict.fromkeys(pair.after["measure"] for pair in pairs))
    return [_drop(measure, [pair for pair in pairs if pair.after["measure"] == measure]) for measure in measures]


def median_overlap(pairs: Sequence[Pair]) -> float | None:
    """Median IoU of each item's found mask after with the one before; None where items are not masks."""
    overlaps = [
        _iou(decode_rle(pair.before["found"]), decode_rle(pair.after["found"]))
        for pair in pairs
        if isinstance(pair.before.get("found"), dict)
    ]
    return float(np.median(overlaps)) if overlaps else None


def _drop(measure: str, pairs: Sequence[Pair]) -> PairedDrop:
    main = pairs[0].main
    before = np.array([float(pair.before[main]) for pair in pairs])
    after = np.array([float(pair.after[main]) for pair in pairs])
    drop = float(100 * (before - after).mean())
    half = 100 * NORMAL_95 * standard_error(pairs)
    return PairedDrop(
        measure, main, len(pairs), float(before.mean()), float(after.mean()), drop, (drop - half, drop + half)
    )


def _iou(before: np.ndarray, after: np.ndarray) -> float:
    """1 for two empty masks."""
    union = int(np.count_nonzero(before | after))
    return int(np.count_nonzero(before & after)) / union if union else 1.0
