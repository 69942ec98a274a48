"""The page of a run: everything that its summary says, in one file that needs no network."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from hyperseg_bench.latency.run_files import REPORT, SUMMARY
from hyperseg_bench.latency.run_tables import floor_cells, interval, of_percentile
from hyperseg_bench.latency.summary import NOT_MEASURED
from hyperseg_bench.quality.results import read_complete
from hyperseg_runtime.files.writing import explained, write_atomically
from hyperseg_runtime.reports.charts import intervals, waterfall
from hyperseg_runtime.reports.page import chart, figure, number, page, picture, table

GRAPHS_SHOWN = 40
"""Calls on a time line; an answer's tokens are many calls of the same graphs."""
LEGEND = "green: both; red: the first subject's alone; blue: this one's alone"
Content = Mapping[str, Any]


def write_page(directory: Path, quality: Sequence[Path]) -> Path:
    """The page of the run in `directory`, from its summary; `quality` are folders of `eval`, before and after."""
    with explained(directory / SUMMARY):
        content = json.loads((directory / SUMMARY).read_bytes())
    tables = {path.resolve().name: read_complete(path)[0] for path in quality}
    write_atomically(directory / REPORT, render(content, tables, directory))
    return directory / REPORT


def render(content: Content, quality: Mapping[str, Content], directory: Path) -> bytes:
    """UTF-8 HTML. `quality` holds contents of evaluations' tables by name; PNGs are read from `directory`."""
    title = "Benchmark: " + ", ".join(content["run"]["subjects"])
    body = [
        f"<h1>{escape(title)}</h1>",
        "<h2>Verdict</h2>",
        *(f"<p>{escape(sentence)}</p>" for sentence in verdict(content)),
        "<h2>Requests</h2>",
        _requests(content),
        *_rivals(content),
        "<h2>Graphs, and how far they are from the floor</h2>",
        "<p>The floor is the longer of operations at the peak of their type and bytes at the speed of a copy, both "
        "measured in this run. More than 100 % is an error of measurement, shown as it came out.</p>",
        _graphs(content),
        *_timelines(content),
        "<h2>Memory</h2>",
        _memory(content),
        "<h2>Quality</h2>",
        *_quality(quality),
        "<h2>Masks</h2>",
        *_masks(content, directory),
        "<h2>Machine</h2>",
        _machine(content),
        "<h2>Not measured</h2>",
        _absent(content),
        f"<h2>Reproduce</h2><p><code>{escape(shlex.join(content['run']['command']))}</code></p>",
    ]
    return page(title, body)


def verdict(content: Content) -> Iterator[str]:
    """Who was quickest at what, by how much, and what to be wary of."""
    requests = [row for row in content["rows"] if not row["part"]]
    for scenario, metric in dict.fromkeys((row["scenario"], row["metric"]) for row in requests):
        rows = [row for row in requests if (row["scenario"], row["metric"]) == (scenario, metric)]
        best = min(rows, key=lambda row: row["median_ms"])
        sentence = f"{scenario} ({metric}): {best['median_ms']:.2f} ms with {best['subject']}"
        if (against := best["against_first"]) is not None:
            surely = "" if against["high"] < 1 else ", which these samples do not tell apart"
            sentence += f", {against['ratio']:.2f} of the time of {against['subject']}{surely}"
        yield f"{sentence}."
    if not requests:
        yield f"{NOT_MEASURED}: nothing could be run."
    yield from (f"Warning: {warning}." for warning in content["warnings"])


def _requests(content: Content) -> str:
    head = ("scenario", "subject", "metric", "n", "p50 ms", "95 %", "p90 ms", "p99 ms", "a second", "J", "of the first")
    rows = [
        (
            escape(row["scenario"]),
            escape(row["subject"]),
            escape(row["metric"]),
            number(str(row["samples"])),
            number(f"{row['median_ms']:.2f}"),
            number(interval(row["p50_ms"])),
            number(of_percentile(row["p90_ms"])),
            number(of_percentile(row["p99_ms"])),
            number(f"{row['per_second']:.2f}"),
            NOT_MEASURED if row["energy_j"] is None else number(f"{row['energy_j']:.2f}"),
            "" if row["against_first"] is None else number(f"{row['against_first']['ratio']:.3f}"),
        )
        for row in content["rows"]
        if not row["part"]
    ]
    about = "".join(f"<li>{escape(name)}: {escape(what)}</li>" for name, what in content["run"]["scenarios"].items())
    return f"<ul>{about}</ul>{table(head, rows)}"


def _rivals(content: Content) -> Iterator[str]:
    """A drawing for each scenario that several subjects were asked."""
    rows = [row for row in content["rows"] if not row["part"] and row["p50_ms"] is not None]
    for scenario, metric in dict.fromkeys((row["scenario"], row["metric"]) for row in rows):
        own = {
            row["subject"]: (row["p50_ms"]["value"], row["p50_ms"]["low"], row["p50_ms"]["high"])
            for row in rows
            if (row["scenario"], row["metric"]) == (scenario, metric)
        }
        if len(own) > 1:
            about = f"{scenario}, {metric}: medians of all subjects with their intervals"
            yield f"<h3>{escape(scenario)}, {escape(metric)}</h3>{chart(intervals(own, 'ms'), about)}"


def _graphs(content: Content) -> str:
    head = (
        "scenario",
        "subject",
        "part",
        "calls",
        "p50 ms",
        "95 %",
        "GFLOP",
        "MB",
        "floor ms",
        "of the floor",
        "bound by",
    )
    rows = []
    for row in (row for row in content["rows"] if row["part"]):
        floor_ms, share, bound = floor_cells(row)
        beyond = row.get("beyond_floor", False)
        rows.append((
            escape(row["scenario"]), escape(row["subject"]), escape(row["part"]), number(str(row.get("calls", ""))),
            number(f"{row['median_ms']:.2f}"), number(interval(row["p50_ms"])),
            number(f"{sum(row['flops'].values()) / 1e9:.2f}") if "flops" in row else "",
            number(f"{row['bytes'] / 1e6:.1f}") if "bytes" in row else "",
            number(floor_ms), f'<span class="fail">{escape(share)}</span>' if beyond else number(share),
            escape(bound or ""),
        ))  # fmt: skip
    return table(head, rows)


def _timelines(content: Content) -> Iterator[str]:
    """When each graph ran in the last round of each scenario."""
    if content["timelines"]:
        yield "<h2>Time lines</h2><p>Blue: the critical path; all else could run beside it.</p>"
    for line in content["timelines"]:
        calls = line["calls"]
        critical = sum(call["ms"] for call in calls if call["critical"])
        name = f"{line['scenario']}, {line['subject']}"
        spans = [(call["graph"], call["start_ms"], call["ms"], call["critical"]) for call in calls[:GRAPHS_SHOWN]]
        left = f", {len(calls) - GRAPHS_SHOWN} further calls not drawn" if len(calls) > GRAPHS_SHOWN else ""
        shares = f"Critical path {number(f'{critical:.2f}')} ms of {number(format(line['ms'], '.2f'))} ms{left}."
        yield f"<h3>{escape(name)}</h3><p>{shares}</p>{chart(waterfall(spans, 'ms'), f'time line of {name}')}"


def _memory(content: Content) -> str:
    rows = [
        (
            escape(entry["subject"]),
            number(f"{entry['host_bytes'] / 1e6:,.0f}"),
            number(f"{entry['peak_host_bytes'] / 1e6:,.0f}"),
            NOT_MEASURED if entry["device_bytes"] is None else number(f"{entry['device_bytes'] / 1e6:,.0f}"),
        )
        for entry in content["memory"]
    ]
    return table(("subject", "host MB, by its opening and warm-up", "peak of the process so far, MB", "GPU MB"), rows)


def _quality(quality: Mapping[str, Content]) -> Iterator[str]:
    if not quality:
        yield f"<p>{NOT_MEASURED}: name folders of `hyperseg-trt eval` with --quality.</p>"
    kinds = dict.fromkeys(kind for content in quality.values() for kind in content["table"])
    for kind in kinds:
        found = {name: content["table"].get(kind, {}) for name, content in quality.items()}
        metrics = list(dict.fromkeys(metric for numbers in found.values() for metric in numbers))
        rows = [
            (escape(name), *(number(f"{row[metric]:.4g}") if metric in row else NOT_MEASURED for metric in metrics))
            for name, row in found.items()
        ]
        yield f"<h3>{escape(kind)}</h3>" + table(("", *(escape(metric.replace("_", " ")) for metric in metrics)), rows)


def _masks(content: Content, directory: Path) -> Iterator[str]:
    """Overlays of all subjects, and their differences from the first."""
    if not content["drawn"]:
        yield f"<p>{NOT_MEASURED}.</p>"
    else:
        yield f"<p>{LEGEND}</p>"
    for drawn in content["drawn"]:
        shown = [drawn["overlay"]] + ([drawn["difference"]] if drawn["difference"] else [])
        pictures = "".join(picture((directory / name).read_bytes(), f"{drawn['asked']}, {name}") for name in shown)
        caption = f"{drawn['subject']}: {drawn['asked']}, score {drawn['score']:.4f}"
        if drawn["differing_px"] is not None:
            caption += f"; {drawn['differing_px']} of {drawn['pixels']} pixels differ from {drawn['reference']}"
        yield figure(pictures, caption)


def _machine(content: Content) -> str:
    facts = {**content["run"]["environment"], "started": content["run"]["started_utc"]}
    facts |= {"rounds, warm-up": f"{content['run']['rounds']}, {content['run']['warm_up']}"}
    disturbed = content["disturbed"]
    facts["rounds whose probe was disturbed"] = NOT_MEASURED if disturbed is None else f"{disturbed:.0%}"
    for peak in content["peaks"]:
        facts |= {
            f"peak, {peak['place']}, {name}": f"{value / 1e9:,.1f} GFLOP/s"
            for name, value in peak["flops_per_s"].items()
        }
        facts[f"peak, {peak['place']}, copy"] = f"{peak['bytes_per_s'] / 1e9:,.1f} GB/s"
    for label, own in content["run"]["subjects"].items():
        facts[label] = ", ".join(f"{name} {value}" for name, value in own.items())
    return table(("", ""), [(escape(name), escape(str(value))) for name, value in facts.items()])


def _absent(content: Content) -> str:
    rows = [
        (escape(entry["subject"]), escape(entry["scenario"] or "everything"), escape(entry["reason"]))
        for entry in content["absent"]
    ]
    return (
        table(("subject", "scenario", "reason"), rows) if rows else "<p>Everything that was asked for was measured.</p>"
    )
