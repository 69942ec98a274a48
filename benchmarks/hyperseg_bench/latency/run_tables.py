"""A run and a comparison as tables for the terminal."""

from collections.abc import Mapping
from typing import Any

from hyperseg_bench.latency.summary import NOT_MEASURED
from hyperseg_runtime import console


def print_summary(content: Mapping[str, Any]) -> None:
    requests = [row for row in content["rows"] if not row["part"]]
    console.print_rows(
        "Requests",
        ("scenario", "subject", "metric", ">n", ">p50 ms", ">95 %", ">p90", ">p99", ">a second", ">of the first"),
        [
            (
                row["scenario"],
                row["subject"],
                row["metric"],
                row["samples"],
                f"{row['median_ms']:.2f}",
                interval(row["p50_ms"]),
                of_percentile(row["p90_ms"]),
                of_percentile(row["p99_ms"]),
                f"{row['per_second']:.2f}",
                "" if row["against_first"] is None else f"{row['against_first']['ratio']:.2f}",
            )
            for row in requests
        ],
    )
    console.print_rows(
        "Graphs",
        ("scenario", "subject", "graph", ">p50 ms", ">floor ms", ">of floor", "bound by"),
        [
            (row["scenario"], row["subject"], row["part"], f"{row['median_ms']:.2f}", *floor_cells(row))
            for row in content["rows"]
            if row["part"]
        ],
    )
    for absent in content["absent"]:
        what = f"{absent['subject']} {absent['scenario']}".strip()
        console.out.print(f"{NOT_MEASURED}  {what}: {absent['reason']}", markup=False)
    for warning in content["warnings"]:
        console.out.print(f"warning  {warning}", markup=False)


def print_comparison(content: Mapping[str, Any]) -> None:
    console.print_rows(
        f"{content['before']} and {content['after']}",
        ("scenario", "subject", "part", ">before ms", ">after ms", ">ratio", ">95 %", "verdict"),
        [
            (
                row["scenario"],
                row["subject"],
                f"{row['metric']} {row['part']}",
                *(f"{ms:.2f}" for ms in row["median_ms"]),
                f"{row['ratio']:.3f}",
                f"{row['low']:.3f}..{row['high']:.3f}",
                row["verdict"],
            )
            if row["verdict"]
            else (row["scenario"], row["subject"], f"{row['metric']} {row['part']}", "", "", "", "", "too few samples")
            for row in content["rows"]
        ],
    )
    widest = "" if content["widest"] is None else f", the widest interval is {content['widest']:.0%} of its median"
    console.out.print(
        f"{content['agreeing']} of {content['told']} rows agree within their intervals{widest}", markup=False
    )


def interval(estimate: Mapping[str, float] | None) -> str:
    return NOT_MEASURED if estimate is None else f"{estimate['low']:.2f}..{estimate['high']:.2f}"


def of_percentile(estimate: Mapping[str, float] | None) -> str:
    return NOT_MEASURED if estimate is None else f"{estimate['value']:.2f}"


def floor_cells(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """Floor, share of it, bound; what is beyond it is marked."""
    if row.get("floor_ms") is None:
        return NOT_MEASURED, NOT_MEASURED, ""
    share = f"{row['of_floor']:.1%}" + (" (error of measurement)" if row["beyond_floor"] else "")
    return f"{row['floor_ms']:.3f}", share, row["bound"]
