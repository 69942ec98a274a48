"""`evaluate`: a bundle asked everything a data set knows the answer to."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperseg_bench.quality.answering import answered
from hyperseg_bench.quality.datasets.registry import Choice, open_data_set
from hyperseg_bench.quality.run_folder import RunFolder
from hyperseg_runtime.batch.item_file import missing
from hyperseg_runtime.batch.subject import Subject
from hyperseg_runtime.batch.working import Answer, Worker, in_this_process
from hyperseg_runtime.bundle.manifest import Manifest
from hyperseg_runtime.bundle.opening import read_manifest
from hyperseg_runtime.errors import BundleError

MIXED = "mixed"


@dataclass(frozen=True)
class Asking:
    """The job of an evaluation: a bundle asked about the samples of a data set."""

    subject: Subject
    choice: Choice

    @contextmanager
    def __call__(self) -> Iterator[Answer]:
        data = open_data_set(self.choice)
        with self.subject.opened() as pipeline:
            yield lambda key: answered(pipeline, data.sample(key))


def evaluate(
    subject: Subject,
    choice: Choice,
    out: Path,
    precision: str | None = None,
    overwrite: bool = False,
    work: Worker = in_this_process,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Any]:
    """The content of the table, with everything in the folder `out`; goes on where it was stopped.

    The table depends on what was asked of what alone: not on where it stopped, nor on who worked in which order. With
    `overwrite` it begins anew. `tell` gets samples done and all of them. Raises InputError for a data set that cannot
    be used, BundleError where the graphs are not in `precision` (None: whatever they are in), OutputError where `out`
    holds another evaluation.
    """
    found = precision_of(read_manifest(subject.bundle))
    if precision is not None and precision != found:
        raise BundleError(
            f"{subject.bundle}: asked for {precision}, its graphs are {found}; export with --precision {precision}"
        )
    keys = open_data_set(choice).keys
    folder = RunFolder(out)
    items = folder.begin(conditions_of(subject, choice, keys), overwrite)
    waiting = list(missing(keys, items.rows))
    tell(len(keys) - len(waiting), len(keys))
    if waiting:
        with folder.written_to(items):
            for done, (key, rows) in enumerate(work(Asking(subject, choice), waiting), len(keys) - len(waiting) + 1):
                items.add(key, rows)
                tell(done, len(keys))
    return folder.finish(keys, items.rows)


def conditions_of(subject: Subject, choice: Choice, keys: Sequence[str]) -> dict[str, Any]:
    """What decides the rows of an evaluation of the samples `keys`, as JSON: what `Subject.conditions` tells, and

    precision  of the graphs, as `precision_of` tells it
    keys       sha256 of the names of the samples
    """
    manifest = read_manifest(subject.bundle)
    return {
        "family": manifest.family,
        "precision": precision_of(manifest),
        **subject.conditions(),
        "data_set": choice.told(),
        "keys": hashlib.sha256("\n".join(keys).encode()).hexdigest(),
    }


def precision_of(manifest: Manifest) -> str:
    """The precision of all graphs, or "mixed"; of a quantised bundle its recipe."""
    if manifest.quantization is not None:
        return manifest.quantization.recipe
    found = {str(entry.precision) for entry in manifest.graphs}
    return found.pop() if len(found) == 1 else MIXED
