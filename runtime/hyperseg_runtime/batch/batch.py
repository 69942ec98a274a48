"""A batch from its beginning to its end: what is done is kept, the rest is worked on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperseg_runtime.batch.item_file import ItemFile, Row
from hyperseg_runtime.batch.segmenting import ERROR, Segmenting
from hyperseg_runtime.batch.working import Worker, in_this_process
from hyperseg_runtime.console import json_bytes
from hyperseg_runtime.errors import OutputError
from hyperseg_runtime.files.writing import write_atomically

RUN, ITEMS = "run.json", "items.jsonl"


@dataclass(frozen=True)
class BatchFolder:
    """Results at `directory`, begun or complete."""

    directory: Path

    def begin(self, conditions: dict[str, Any], overwrite: bool) -> ItemFile:
        """What is done already. Raises OutputError where another batch lies there."""
        run, items = self.directory / RUN, self.directory / ITEMS
        wanted = json_bytes(conditions)
        found = run.read_bytes() if run.exists() else None
        if found != wanted:
            if not overwrite and (found is not None or items.exists()):
                raise OutputError(
                    f"{self.directory}: holds another batch (other images, another request or bundle); choose another "
                    "place with --out, or begin anew with --overwrite"
                )
            items.unlink(missing_ok=True)
            write_atomically(run, wanted)
        return ItemFile(items)


def run_batch(
    job: Segmenting,
    conditions: dict[str, Any],
    overwrite: bool = False,
    work: Worker = in_this_process,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, list[Row]]:
    """Rows of every item by its key; see `Segmenting`. `tell` gets items done and all of them.

    Raises OutputError where `out` holds something else.
    """
    keys = job.inputs.keys
    items = BatchFolder(job.out).begin(conditions, overwrite)
    waiting = [key for key in keys if key not in items.rows or _failed(items.rows[key])]
    done = len(keys) - len(waiting)
    tell(done, len(keys))
    if waiting:
        with items:
            for number, (key, rows) in enumerate(work(job, waiting), done + 1):
                items.add(key, rows)
                tell(number, len(keys))
    return {key: items.rows[key] for key in keys}


def _failed(rows: list[Row]) -> bool:
    return any(ERROR in row for row in rows)
