"""Runs of `hyperseg-trt bench` that the READMEs show: kept as summaries, printed as tables.

python benchmarks/latency/stored.py keep RUN NAME      # a run's summary becomes benchmarks/results/bench/NAME.json
python benchmarks/latency/stored.py table NAME         # its requests and graphs as the README shows them
"""

import json
from collections.abc import Callable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any

import typer

from hyperseg_bench import measure
from hyperseg_bench.latency.run_files import SUMMARY
from hyperseg_runtime import console
from hyperseg_runtime.console import json_bytes
from hyperseg_runtime.files.writing import write_atomically

FOLDER = measure.RESULTS / "bench"
LEFT_OUT = ("drawn", "timelines")
"""Large, and nobody reads them in a table."""

Row = dict[str, Any]

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command()
def keep(run: Path, name: str, note: Annotated[str, typer.Option(help="What else the machine did.")] = "") -> None:
    """Keep the summary in the folder RUN under NAME."""
    content = json.loads((run / SUMMARY).read_bytes())
    kept = {field: value for field, value in content.items() if field not in LEFT_OUT}
    kept["run"]["command"] = [Path(word).name if Path(word).is_absolute() else word for word in kept["run"]["command"]]
    FOLDER.mkdir(exist_ok=True)
    write_atomically(FOLDER / f"{name}.json", json_bytes({"note": note, **kept}))
    console.out.print(str(FOLDER / f"{name}.json"), markup=False)


@app.command()
def table(name: str) -> None:
    """Print both tables of NAME."""
    console.out.print(markdown(name), markup=False)


def markdown(name: str) -> str:
    """Requests, then the graphs of a first expression with their floors: the first subject beside the second one."""
    content = json.loads((FOLDER / f"{name}.json").read_bytes())
    return "\n".join((*_requests(content), "", *_graphs(content)))


def _requests(content: Row) -> Iterator[str]:
    first, second = _measured(content)
    yield f"| request | {first} ms | 95 % | {second} ms | 95 % | ratio | 95 % |"
    yield "|---|---|---|---|---|---|---|"
    for ours, theirs in _pairs(content, lambda row: not row["part"]):
        yield (
            f"| {ours['scenario']}, {ours['metric']} | {ours['median_ms']:,.1f} | {_interval(ours['p50_ms'])} "
            f"| {theirs['median_ms']:,.1f} | {_interval(theirs['p50_ms'])} "
            f"| {_ratio(ours, theirs)} |"
        )


def _graphs(content: Row) -> Iterator[str]:
    first, second = _measured(content)
    yield f"| graph | GFLOP | floor ms | {first} ms | of the floor | {second} ms | of the floor | bound by |"
    yield "|---|---|---|---|---|---|---|---|"
    for ours, theirs in _pairs(content, lambda row: row.get("floor_ms") is not None and row["scenario"] == "first"):
        yield (
            f"| `{ours['part']}` | {sum(ours['flops'].values()) / 1e9:,.2f} | {ours['floor_ms']:,.2f} "
            f"| {ours['median_ms']:,.1f} | {ours['of_floor']:.0%} "
            f"| {theirs['median_ms']:,.1f} | {theirs['of_floor']:.0%} | {ours['bound']} |"
        )


def _measured(content: Row) -> tuple[str, str]:
    """Backends of the first two subjects that have rows."""
    labels = list(dict.fromkeys(row["subject"] for row in content["rows"]))[:2]
    first, second = (content["run"]["subjects"][label]["backend"] for label in labels)
    return first, second


def _pairs(content: Row, wanted: Callable[[dict[str, Any]], bool]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Rows of the first subject with those of the second one, told apart by nothing else."""
    labels = list(dict.fromkeys(row["subject"] for row in content["rows"]))
    key_of = itemgetter("subject", "scenario", "metric", "part")
    rows = {key_of(row): row for row in content["rows"] if wanted(row)}
    for key, row in rows.items():
        if key[0] == labels[0]:
            yield row, rows[(labels[1], *key[1:])]


def _ratio(ours: Row, theirs: Row) -> str:
    """Of pairs that were measured one after the other, with its interval; of medians where there were too few."""
    against = theirs["against_first"]
    if against is None:
        return f"{ours['median_ms'] / theirs['median_ms']:.2f} | not measured"
    return f"{1 / against['ratio']:.2f} | {1 / against['high']:.2f} to {1 / against['low']:.2f}"


def _interval(estimate: dict[str, float] | None) -> str:
    return "not measured" if estimate is None else f"{estimate['low']:,.1f} to {estimate['high']:,.1f}"


if __name__ == "__main__":
    console.run_app(app)
