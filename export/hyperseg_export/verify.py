"""What the `verify` verb runs and prints."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hyperseg_export.comparison import compare_bundle
from hyperseg_export.families.registry import detect_family
from hyperseg_export.jobs.progress import Progress
from hyperseg_export.opening import open_checkpoint, require_made_from
from hyperseg_export.parity.golden import ENGINES, GoldenFolder, GoldenReport
from hyperseg_export.samples import sample_images
from hyperseg_runtime import console
from hyperseg_runtime.bundle.manifest import ParityEntry
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.errors import InputError, ParityError
from hyperseg_runtime.reports.manifest_tables import folded, print_entries, verdict


def verify_golden(directory: Path, progress: Progress, engines: Sequence[str] = ENGINES) -> GoldenReport:
    """Run every case of a golden folder on modules and graphs. Raises InputError for another kind of folder."""
    folder = GoldenFolder.open(directory)
    return detect_family(folder.weight_names()).verify_golden(folder, progress, engines)


def verify_bundle(
    directory: Path, checkpoint: Path | None, adapter: Path | None, images: list[Path], progress: Progress
) -> tuple[ParityEntry, ...]:
    """Compare a bundle's graphs with the modules of the checkpoint it was made from."""
    if checkpoint is None:
        raise InputError(
            "verify BUNDLE needs --checkpoint: the modules to compare with are built from it "
            "(`inspect BUNDLE` checks the files alone)"
        )
    return compare_with_checkpoint(Bundle.open(directory), checkpoint, adapter, images, progress)


def compare_with_checkpoint(
    bundle: Bundle, checkpoint: Path, adapter: Path | None, images: list[Path], progress: Progress
) -> tuple[ParityEntry, ...]:
    """Raises CheckpointError if the bundle was not made from this checkpoint and adapter."""
    opened = open_checkpoint(checkpoint, adapter, bundle.manifest.dimensions.get("context"))
    require_made_from(bundle.manifest, opened)
    return compare_bundle(bundle, opened, images or sample_images(), _scratch(bundle.directory), progress)


def _scratch(bundle: Path) -> Path:
    """Beside the bundle, where the disk is large; elsewhere if nothing can be written there."""
    return bundle.resolve().parent if os.access(bundle.resolve().parent, os.W_OK) else Path(tempfile.gettempdir())


def print_golden(report: GoldenReport, as_json: bool) -> None:
    """Worst error of every array; raises ParityError if one is beyond its tolerance."""
    if as_json:
        console.print_json(report.to_json())
    else:
        cases = sorted({row.case for row in report.compared})
        for case in cases:
            rows = [row for row in report.compared if row.case == case]
            console.print_rows(
                case,
                ("array", "engine", ">error / range", ">allowed", "verdict"),
                [(r.array, r.engine, f"{r.worst_error:.1e}", f"{r.tolerance:.0e}", verdict(r.passed)) for r in rows],
            )
        if report.not_compared:
            console.print_rows(
                "Not compared", ("case", "array", "why"), [(n.case, n.array, n.reason) for n in report.not_compared]
            )
        console.out.print(
            f"{len(report.compared)} comparisons of {len(cases)} cases, {len(report.failures)} failed, "
            f"{len(report.not_compared)} arrays not compared"
        )
    if report.failures:
        raise ParityError(f"{len(report.failures)} golden arrays differ more than allowed")


def print_bundle(entries: tuple[ParityEntry, ...], as_json: bool) -> None:
    """One row per graph output; raises ParityError if one is beyond its tolerance."""
    failed = [entry for entry in entries if not entry.passed]
    if as_json:
        console.print_json({"parity": [entry.model_dump() for entry in entries], "passed": not failed})
    else:
        print_entries("ONNX graphs against their modules", folded(entries))
    if failed:
        raise ParityError(f"{len(failed)} graph outputs differ more than allowed")
