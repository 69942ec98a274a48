"""The files of a run: raw samples while it goes on, summary and page at its end or when they are asked for."""

import json
from pathlib import Path
from typing import Any

from hyperseg_bench.latency.lines import Line, read_samples, schema
from hyperseg_bench.latency.summary import summarise
from hyperseg_runtime.console import json_bytes
from hyperseg_runtime.files.writing import write_atomically

SAMPLES, SCHEMA, SUMMARY, REPORT = "samples.jsonl", "samples.schema.json", "summary.json", "report.html"


def write_schema(directory: Path) -> None:
    write_atomically(directory / SCHEMA, json_bytes(schema()))


def write_summary(directory: Path) -> dict[str, Any]:
    """The summary of the samples in `directory`, as it was written. Raises InputError where there are none."""
    content = summarise(lines_of(directory))
    write_atomically(directory / SUMMARY, json_bytes(content))
    read: dict[str, Any] = json.loads((directory / SUMMARY).read_bytes())
    return read


def lines_of(directory: Path) -> list[Line]:
    """The samples of a run, complete or killed."""
    return read_samples(directory / SAMPLES)
