"""What is made of a complete evaluation: its page, and a comparison with an earlier one."""

import json
from pathlib import Path
from typing import Any

from hyperseg_bench.quality.comparison import by_change, pair_up, summary
from hyperseg_bench.quality.datasets.registry import Choice, open_data_set, source_of
from hyperseg_bench.quality.report import render_comparison, render_evaluation
from hyperseg_bench.quality.run_folder import COMPARISON, COMPARISON_PAGE, REPORT, TABLE, RunFolder
from hyperseg_bench.quality.samples import Row
from hyperseg_runtime.batch.run_record import RUN
from hyperseg_runtime.console import json_bytes
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.files.writing import write_atomically


def read_complete(directory: Path) -> tuple[dict[str, Any], dict[str, list[Row]]]:
    """Content of an evaluation's table, and its rows. Raises InputError where it is not there or not done."""
    path = directory / TABLE
    if not path.is_file():
        state = "is not complete; finish it first" if (directory / RUN).is_file() else "is no evaluation's folder"
        raise InputError(f"{directory}: {state} ({TABLE} is missing)")
    content: dict[str, Any] = json.loads(path.read_bytes())
    return content, RunFolder(directory).items().rows


def write_report(directory: Path, choice: Choice) -> dict[str, Path]:
    """The page of the evaluation in `directory`; the files that people want."""
    content, rows = read_complete(directory)
    write_atomically(directory / REPORT, render_evaluation(content, rows, open_data_set(choice)))
    return {"table": directory / TABLE, "report": directory / REPORT}


def write_comparison(directory: Path, against: Path, choice: Choice) -> tuple[dict[str, Any], dict[str, Path]]:
    """Compare the evaluation in `directory` with an earlier one, whose items come first in every pair.

    Gives the table's content with the summary as `comparison`, and the files. Raises InputError where the two were not
    asked the same.
    """
    (before, old), (after, new) = read_complete(against), read_complete(directory)
    _require_same_source(against, before, after)
    data = open_data_set(choice)
    paired = pair_up(data.keys, old, new)
    changed = [pair.told() for pair in by_change(paired)]
    numbers = summary(paired)
    write_atomically(
        directory / COMPARISON,
        json_bytes({"before": before, "after": after, "comparison": numbers, "changed": changed}),
    )
    write_atomically(directory / COMPARISON_PAGE, render_comparison(before, after, paired, data))
    return {**after, "comparison": numbers}, {
        "comparison": directory / COMPARISON,
        "page": directory / COMPARISON_PAGE,
    }


def _require_same_source(against: Path, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Samples of another source may have the same names, and be asked the same of other pictures."""
    found, expected = (source_of(Choice(**content["data_set"])).told() for content in (before, after))
    other = [f"{name} {found[name]}, expected {expected[name]}" for name in found if found[name] != expected[name]]
    if other:
        raise InputError(
            f"{against}: its samples are from elsewhere ({'; '.join(other)}); compare evaluations of the same DATASET, "
            "--data and --split"
        )
