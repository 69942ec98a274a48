"""Two runs, row by row: what differs significantly, and whether they agree within their own intervals."""

from pathlib import Path
from typing import Any

from hyperseg_bench.latency.run_files import lines_of
from hyperseg_bench.latency.statistics import percentile, ratio_of_medians
from hyperseg_bench.latency.summary import Key, disturbed_share, samples_by_key
from hyperseg_runtime.errors import InputError

SAME = "no significant difference"


def compare(before: Path, after: Path) -> dict[str, Any]:
    """Of every row that both runs have: medians, their ratio (after / before) with its interval, and a verdict.

    `agree` says whether the intervals of the medians overlap, `width` how wide the wider one is, as a share of its
    median. Raises InputError where there is no row in common.
    """
    lines = [lines_of(before), lines_of(after)]
    old, new = (
        {key: [sample.ms for sample in samples] for key, samples in samples_by_key(of_run).items()} for of_run in lines
    )
    common = [key for key in old if key in new]
    if not common:
        raise InputError(
            f"no row in common: {before} has {', '.join(sorted({key[0] for key in old})) or 'none'}; "
            f"{after} has {', '.join(sorted({key[0] for key in new})) or 'none'}"
        )
    rows = [_row(key, old[key], new[key]) for key in common]
    told = [row for row in rows if row["verdict"] is not None]
    return {
        "before": str(before),
        "after": str(after),
        "rows": rows,
        "told": len(told),
        "agreeing": sum(row["agree"] for row in told),
        "widest": max((row["width"] for row in told), default=None),
        "only_before": [list(key) for key in old if key not in new],
        "only_after": [list(key) for key in new if key not in old],
        "disturbed": [disturbed_share(of_run) for of_run in lines],
    }


def _row(key: Key, old: list[float], new: list[float]) -> dict[str, Any]:
    row: dict[str, Any] = dict(zip(("subject", "scenario", "metric", "part"), key, strict=True))
    row |= {"samples": [len(old), len(new)], "verdict": None}
    ratio, medians = ratio_of_medians(new, old), [percentile(samples, 50) for samples in (old, new)]
    if ratio is None or medians[0] is None or medians[1] is None:
        return row
    verdict = SAME if ratio.low <= 1 <= ratio.high else ("slower" if ratio.value > 1 else "faster")
    return row | {
        "median_ms": [median.value for median in medians if median],
        "ratio": ratio.value,
        "low": ratio.low,
        "high": ratio.high,
        "verdict": verdict,
        "agree": medians[0].overlaps(medians[1]),
        "width": max(median.width for median in medians if median),
    }
