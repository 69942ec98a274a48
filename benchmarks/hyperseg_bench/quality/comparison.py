"""Two evaluations of one data set, item by item."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperseg_bench.quality.asks.ask import ALL
from hyperseg_bench.quality.asks.registry import MEASURES
from hyperseg_bench.quality.samples import Row, in_order
from hyperseg_runtime.contracts.results import decode_rle
from hyperseg_runtime.errors import InputError


@dataclass(frozen=True)
class Pair:
    """One ask in both evaluations."""

    sample: str
    before: Row
    after: Row

    @property
    def main(self) -> str:
        return MEASURES[self.after["measure"]].main

    @property
    def change(self) -> float:
        """Of the main number; above 0 the second is better."""
        return float(self.after[self.main]) - float(self.before[self.main])

    @property
    def changed(self) -> bool:
        """Whether anything of the result differs, however little."""
        return any(self.before.get(entry) != self.after.get(entry) for entry in (self.main, "found", "answer"))

    def told(self) -> dict[str, Any]:
        """JSON."""
        return {
            "sample": self.sample,
            "ask": self.after["ask"],
            "measure": self.after["measure"],
            "kind": self.after["kind"],
            "asked": self.after["asked"],
            "before": self.before[self.main],
            "after": self.after[self.main],
            "change": self.change,
            "pixels_changed": differing_pixels(self.before.get("found"), self.after.get("found")),
        }


def pair_up(keys: Sequence[str], before: Mapping[str, list[Row]], after: Mapping[str, list[Row]]) -> list[Pair]:
    """Every ask that both answered, in order. Raises InputError where they were not asked the same."""
    old = {(key, row["ask"]): row for key, row in in_order(keys, before)}
    new = {(key, row["ask"]): row for key, row in in_order(keys, after)}
    for place in [*new, *old]:
        if place not in old or place not in new or old[place]["asked"] != new[place]["asked"]:
            raise InputError(f"the evaluations were not asked the same: see {' '.join(place)}")
    return [
        Pair(key, old[key, ask], row) for (key, ask), row in new.items() if not {"left_out"} & {*row, *old[key, ask]}
    ]


def summary(pairs: Sequence[Pair]) -> dict[str, dict[str, float]]:
    """For each measure: pairs, changed ones, better and worse ones, mean and standard error of the change."""
    found: dict[str, dict[str, float]] = {}
    for measure in dict.fromkeys(pair.after["measure"] for pair in pairs):
        own = [pair for pair in pairs if pair.after["measure"] == measure]
        changes = _changes(own)
        found[f"{measure}, {ALL}"] = {
            "count": len(own),
            "changed": sum(pair.changed for pair in own),
            "better": int((changes > 0).sum()),
            "worse": int((changes < 0).sum()),
            "mean_change": float(changes.mean()),
            "standard_error": standard_error(own),
        }
    return found


def standard_error(pairs: Sequence[Pair]) -> float:
    """Of the mean change; infinite for a single sample, which says nothing about others.

    The items of one sample are a cluster, since they share a picture (Miller, "Adding Error Bars to Evals", arXiv
    2411.00640, sections 2.2 and 4.2).
    """
    changes = _changes(pairs)
    samples = np.unique([pair.sample for pair in pairs], return_inverse=True)[1]
    sums = np.bincount(samples, changes - changes.mean())
    count = len(sums)
    if count < 2:
        return float("inf")
    return float(np.sqrt((sums**2).sum() * count / (count - 1)) / len(pairs))


def _changes(pairs: Sequence[Pair]) -> np.ndarray:
    return np.array([pair.change for pair in pairs])


def by_change(pairs: Sequence[Pair]) -> list[Pair]:
    """Those that changed, what lost most first."""
    return sorted((pair for pair in pairs if pair.changed), key=lambda pair: pair.change)


def differing_pixels(before: Any, after: Any) -> int:
    """Of two masks or two lists of masks as run lengths; 0 where there are none."""
    if before is None or after is None:
        return 0
    if isinstance(before, Mapping):
        return int(np.count_nonzero(decode_rle(before) != decode_rle(after)))
    return sum(differing_pixels(*of_frame) for of_frame in zip(before, after, strict=True))
