"""A published checkpoint exported, verified and evaluated, beside the numbers that its authors print."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hyperseg_bench.quality.datasets.registry import Choice
from hyperseg_bench.quality.evaluation import evaluate
from hyperseg_export.export import ExportOptions, export_bundle
from hyperseg_export.jobs.progress import Progress
from hyperseg_export.opening import open_checkpoint, require_made_from
from hyperseg_runtime.batch.subject import Subject
from hyperseg_runtime.bundle.manifest import FILE_NAME, Manifest
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.console import json_bytes
from hyperseg_runtime.errors import InputError, OutputError
from hyperseg_runtime.families import FAMILIES
from hyperseg_runtime.families.family import FamilySpec
from hyperseg_runtime.families.printed import PrintedNumber
from hyperseg_runtime.files.writing import output_folder, write_atomically

BUNDLE, RESULT = "bundle", "reproduction.json"
REFER = "refer"
SHARED_FOLDERS = dict.fromkeys(("refcoco", "refcoco+", "refcocog", "grefcoco"), REFER)
"""Data set -> the folder that it shares with others; the rest lie in folders of their own name."""


@dataclass(frozen=True)
class Reproduced:
    """A printed number with the measured one; None with a reason where it was not measured."""

    printed: PrintedNumber
    measured: float | None
    reason: str = ""

    def told(self) -> dict[str, Any]:
        """JSON."""
        return {**asdict(self.printed), "measured": self.measured, "reason": self.reason}


def reproduce(
    checkpoint: Path,
    data: Path,
    out: Path,
    progress: Progress,
    options: dict[str, Any] | None = None,
    data_sets: Sequence[str] = (),
    items: int | None = None,
    overwrite: bool = False,
    tell: Callable[[str, int, int], None] = lambda name, done, of: None,
) -> tuple[FamilySpec, list[Reproduced]]:
    """Everything goes into the folder `out`, and goes on where it was stopped: the bundle, an evaluation for each data
    set and split, and `RESULT`.

    `data` holds a folder for each data set, under its name in `hyperseg-trt eval` (RefCOCO's relatives share `refer`);
    what is not there is not measured. `options` are the backend's; `data_sets` chooses some, `items` takes so many
    samples of each, in evaluations of their own. With `overwrite` evaluations begin anew; the bundle stays. The export
    compares graphs with modules and fails where they differ. Raises CheckpointError where `out` holds another
    checkpoint's bundle, OutputError where an evaluation there was made with other settings.
    """
    with output_folder(out):
        manifest = _exported(checkpoint, out / BUNDLE, progress)
        family = FAMILIES[manifest.family]
        unknown = sorted(set(data_sets) - set(family.data_sets))
        if unknown:
            raise InputError(f"{family.title} has no results on {unknown[0]!r}; choose {', '.join(family.data_sets)}")
        subject = Subject(out / BUNDLE, options=options or {})
        some = () if items is None else (f"first-{items}",)
        tables: dict[tuple[str, str], dict[str, Any] | str] = {}
        for number in family.printed:
            place = number.data_set, number.split
            if place not in tables and (not data_sets or number.data_set in data_sets):
                folder = data.resolve() / SHARED_FOLDERS.get(number.data_set, number.data_set)
                choice = Choice(number.data_set, str(folder), number.split, items)
                tables[place] = _table(subject, choice, folder, out / "-".join((*place, *some)), overwrite, tell)
        rows = [_reproduced(number, tables.get((number.data_set, number.split))) for number in family.printed]
        content = {"family": family.name, "items": items, "note": family.printed_note}
        write_atomically(out / RESULT, json_bytes({**content, "numbers": [row.told() for row in rows]}))
    return family, rows


def _exported(checkpoint: Path, bundle: Path, progress: Progress) -> Manifest:
    """The manifest of the bundle, which is made if it is not there."""
    if not (bundle / FILE_NAME).is_file():
        return export_bundle(checkpoint, bundle, ExportOptions(), progress)
    manifest = Bundle.open(bundle).manifest
    require_made_from(manifest, open_checkpoint(checkpoint), f"{bundle} is kept: choose another place with --out")
    return manifest


def _table(
    subject: Subject,
    choice: Choice,
    folder: Path,
    out: Path,
    overwrite: bool,
    tell: Callable[[str, int, int], None],
) -> dict[str, Any] | str:
    """Content of the evaluation, or why there is none."""
    name = f"{choice.name} {choice.split}"
    if not folder.is_dir():
        return f"{folder} is not there"
    try:
        with output_folder(out):
            return evaluate(subject, choice, out, overwrite=overwrite, tell=lambda done, of: tell(name, done, of))
    except OutputError:
        raise
    except InputError as error:  # files of this data set that are missing or broken cost its numbers alone
        return str(error)


def _reproduced(number: PrintedNumber, content: dict[str, Any] | str | None) -> Reproduced:
    if content is None:
        return Reproduced(number, None, "not asked for")
    if isinstance(content, str):
        return Reproduced(number, None, content)
    row = content["table"].get(number.row, {})
    if number.metric not in row:
        reasons = "; ".join(content["left_out"]) or f"the data set gave no {number.row}"
        return Reproduced(number, None, reasons)
    return Reproduced(number, float(row[number.metric]))
