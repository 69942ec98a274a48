"""From raw samples to the rows that people read: what `summary.json` holds and the page shows."""

from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from hyperseg_bench.latency.lines import (
    WHOLE,
    Absent,
    Device,
    Drawn,
    Line,
    Memory,
    Peak,
    Probed,
    Run,
    Sample,
    TimeLine,
    Work,
    of_kind,
)
from hyperseg_bench.latency.probe import DISTURBED
from hyperseg_bench.latency.scenarios import SCENARIOS
from hyperseg_bench.latency.statistics import LEAST, percentile, ratio_of_medians

Key = tuple[str, str, str, str]
"""Subject, scenario, metric, part."""
ENQUEUE_BOUND = 0.9
"""The share of a graph's time after which its calls came back: the device waits for the host."""
MUCH_DISTURBED = 0.1
NOT_MEASURED = "not measured"


def summarise(lines: Sequence[Line]) -> dict[str, Any]:
    """Conditions, rows, what was not measured, and what to be wary of."""
    (run,) = of_kind(lines, Run)
    times = samples_by_key(lines)
    works = {(work.subject, work.scenario, work.graph): work for work in of_kind(lines, Work)}
    peaks = {peak.place: peak for peak in of_kind(lines, Peak)}
    rows = [_row(key, samples, times, works) for key, samples in times.items()]
    return {
        "run": run.model_dump(mode="json", exclude={"kind"}),
        "peaks": [peak.model_dump(mode="json", exclude={"kind"}) for peak in peaks.values()],
        "rows": rows,
        "absent": [absent.model_dump(mode="json", exclude={"kind"}) for absent in of_kind(lines, Absent)],
        "memory": [memory.model_dump(mode="json", exclude={"kind"}) for memory in of_kind(lines, Memory)],
        "timelines": [line.model_dump(mode="json", exclude={"kind"}) for line in of_kind(lines, TimeLine)],
        "drawn": [drawn.model_dump(mode="json", exclude={"kind"}) for drawn in of_kind(lines, Drawn)],
        "disturbed": disturbed_share(lines),
        "warnings": [*_warnings(lines, rows)],
    }


def samples_by_key(lines: Sequence[Line]) -> dict[Key, list[Sample]]:
    """Every row's samples in the order in which they were taken."""
    found: dict[Key, list[Sample]] = {}
    for sample in of_kind(lines, Sample):
        found.setdefault((sample.subject, sample.scenario, sample.metric, sample.part), []).append(sample)
    return found


def disturbed_share(lines: Sequence[Line]) -> float | None:
    """The share of rounds whose probe took longer than it does when nothing else runs; None without probes."""
    probes = [probe.ms for probe in of_kind(lines, Probed)]
    if not probes:
        return None
    return float(np.mean(np.array(probes) > DISTURBED * np.percentile(probes, 10)))


def _row(
    key: Key, samples: Sequence[Sample], times: dict[Key, list[Sample]], works: dict[tuple[str, str, str], Work]
) -> dict[str, Any]:
    subject, scenario, metric, part = key
    ms = [sample.ms for sample in samples]
    row: dict[str, Any] = {"subject": subject, "scenario": scenario, "metric": metric, "part": part, "samples": len(ms)}
    row["median_ms"] = median(ms)
    for percent in LEAST:
        found = percentile(ms, percent)
        row[f"p{percent}_ms"] = None if found is None else {
            "value": found.value, "low": found.low, "high": found.high}  # fmt: skip
    if part == WHOLE:
        answered = SCENARIOS[scenario].answered if scenario in SCENARIOS else 1
        row["per_second"] = 1000 * answered / row["median_ms"]
        energies = [sample.energy_j for sample in samples if sample.energy_j is not None]
        row["energy_j"] = median(energies) if energies else None
        row["against_first"] = _against_first(key, ms, times)
    elif (work := works.get((subject, scenario, part))) is not None:
        row |= _of_floor(work, row["median_ms"])
    waits = [sample.enqueue_ms / sample.ms for sample in samples if sample.enqueue_ms is not None]
    row["enqueue_share"] = median(waits) if waits else None
    return row


def _against_first(key: Key, ms: Sequence[float], times: dict[Key, list[Sample]]) -> dict[str, Any] | None:
    """Ratio of this row's median to that of the first subject that was measured at the same."""
    reference = next(other for other in times if other[1:] == key[1:])
    if reference == key:
        return None
    found = ratio_of_medians(ms, [sample.ms for sample in times[reference]])
    if found is None:
        return None
    return {"subject": reference[0], "ratio": found.value, "low": found.low, "high": found.high}


def _of_floor(work: Work, median_ms: float) -> dict[str, Any]:
    """A time below the floor is an error of measurement: it is told as it is."""
    share = None if work.floor_ms is None else work.floor_ms / median_ms
    return {
        "calls": work.calls, "flops": work.flops, "bytes": work.bytes, "floor_ms": work.floor_ms, "bound": work.bound,
        "of_floor": share, "beyond_floor": share is not None and share > 1, "floor_unknown": work.unknown,
    }  # fmt: skip


def _warnings(lines: Sequence[Line], rows: Sequence[dict[str, Any]]) -> list[str]:
    found = []
    share = disturbed_share(lines)
    if share is not None and share > MUCH_DISTURBED:
        found.append(f"disturbed: a fixed probe was slowed down in {share:.0%} of the rounds; something else ran")
    for device in of_kind(lines, Device):
        if device.throttled:
            found.append(f"throttled: the GPU lowered its clocks for power or heat during {device.scenario}")
    for row in rows:
        place = f"{row['subject']}, {row['scenario']}, {row['part']}"
        if (row["enqueue_share"] or 0) > ENQUEUE_BOUND:
            found.append(f"enqueue-bound: {place}: the GPU waits for the host, which needs as long to ask")
        if row.get("beyond_floor"):
            found.append(
                f"error of measurement: {place}: {row['of_floor']:.0%} of the floor; its peak was measured too low"
            )
    return found
