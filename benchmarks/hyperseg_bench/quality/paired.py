"""How much a number of many items changed between two evaluations, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyperseg_bench.quality.comparison import Pair
from hyperseg_runtime.contracts.results import decode_rle

NORMAL_95 = 1.96


@dataclass(frozen=True)
class PairedDrop:
    """The mean loss of a measure's main number from before to after, in points of a hundred; above 0 it became worse.

    interval  95 %, from the standard error of paired differences with the items of one sample as a cluster, since they
              share a picture (Miller, "Adding Error Bars to Evals", arXiv 2411.00640, sections 2.2 and 4.2)
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
    losses = 100 * (before - after)
    samples = np.unique([pair.sample for pair in pairs], return_inverse=True)[1]
    half = NORMAL_95 * _clustered_error(losses, samples)
    drop = float(losses.mean())
    return PairedDrop(
        measure, main, len(pairs), float(before.mean()), float(after.mean()), drop, (drop - half, drop + half)
    )


def _clustered_error(values: np.ndarray, clusters: np.ndarray) -> float:
    """Standard error of the mean; infinite for a single cluster, which says nothing about others."""
    sums = np.bincount(clusters, values - values.mean())
    count = len(sums)
    if count < 2:
        return float("inf")
    return float(np.sqrt((sums**2).sum() * count / (count - 1)) / len(values))


def _iou(before: np.ndarray, after: np.ndarray) -> float:
    """1 for two empty masks."""
    union = int(np.count_nonzero(before | after))
    return int(np.count_nonzero(before & after)) / union if union else 1.0
