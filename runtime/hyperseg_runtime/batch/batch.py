"""A batch from its beginning to its end: what is done is kept, the rest is worked on."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from hyperseg_runtime.batch.item_file import Row
from hyperseg_runtime.batch.run_record import RunRecord
from hyperseg_runtime.batch.segmenting import ERROR, UNSEALED_FILES, Segmenting
from hyperseg_runtime.batch.working import Worker, in_this_process

STAMP = "stamp"
"""Name in each row of what told the item's file from others, see `Inputs.stamp`."""


def run_batch(
    job: Segmenting,
    work: Worker = in_this_process,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, list[Row]]:
    """Rows of every item by its key; see `Segmenting`. `tell` gets items done and all of them.

    Items that failed, and those whose file was replaced since, are worked on again. Raises BundleError for a bundle
    that is none, OutputError where `out` holds something else, InputError and PromptError for a request that cannot
    be answered; then nothing is written.
    """
    keys = job.inputs.keys
    record = RunRecord(job.out, "batch")
    items = record.begin(job.conditions(), job.overwrite)
    # Taken before any item is read: one that is replaced meanwhile is asked once too often, never once too seldom.
    stamps = {key: job.inputs.stamp(key) for key in keys}
    waiting = [key for key in keys if not _done(items.rows.get(key, ()), stamps[key])]
    done = len(keys) - len(waiting)
    tell(done, len(keys))
    if waiting:
        unsealed = {key: files for key in waiting if (files := _unsealed(items.rows.get(key, ())))}
        with record.written_to(items):
            for number, (key, rows) in enumerate(work(replace(job, unsealed=unsealed), waiting), done + 1):
                items.add(key, [{**row, STAMP: stamps[key]} for row in rows])
                tell(number, len(keys))
    return {key: items.rows[key] for key in keys}


def _done(rows: Sequence[Row], stamp: str) -> bool:
    """Whether an item was answered, from the file that lies there now."""
    return bool(rows) and all(ERROR not in row and row.get(STAMP) == stamp for row in rows)


def _unsealed(rows: Sequence[Row]) -> dict[str, str]:
    return {name: sha256 for row in rows for name, sha256 in row.get(UNSEALED_FILES, {}).items()}
