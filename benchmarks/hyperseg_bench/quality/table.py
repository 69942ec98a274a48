"""From rows to the table of an evaluation."""

from collections.abc import Iterable, Mapping
from typing import Any

from hyperseg_bench.quality.asks.ask import ALL, Numbers
from hyperseg_bench.quality.asks.registry import MEASURES
from hyperseg_bench.quality.samples import Row


def make_table(rows: Iterable[Row]) -> dict[str, Numbers]:
    """Row of the table -> metrics: for each measure its kinds, and all together where there are several.

    `rows` come in the data set's order, so that equal rows give equal sums to the last bit.
    """
    by_measure: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    everything: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if "left_out" not in row:
            by_measure.setdefault(row["measure"], {}).setdefault(row["kind"], []).append(row)
            everything.setdefault(row["measure"], []).append(row)
    table: dict[str, Numbers] = {}
    for measure, kinds in by_measure.items():
        shown = (
            dict(sorted(kinds.items()))
            if len(kinds) == 1
            else {**dict(sorted(kinds.items())), ALL: everything[measure]}
        )
        table |= {f"{measure}, {kind}": MEASURES[measure].numbers(scores) for kind, scores in shown.items()}
    return table


def left_out(rows: Iterable[Row]) -> dict[str, int]:
    """Reason -> how many asks were left out for it."""
    counts: dict[str, int] = {}
    for row in rows:
        if "left_out" in row:
            reason = f"{row['measure']}: {row['left_out']}"
            counts[reason] = counts.get(reason, 0) + 1
    return counts
