"""A bundle's graphs against the modules of its checkpoint; in a process of its own where that takes much memory, so
that running out of it ends nothing else.

    python -m hyperseg_export.comparison JOB.json
"""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from hyperseg_export.jobs.memory import available_bytes
from hyperseg_export.jobs.process import run_worker
from hyperseg_export.jobs.progress import Progress
from hyperseg_export.jobs.worker import Said, keep_stdout, run_job
from hyperseg_export.opening import CheckpointModel, open_checkpoint
from hyperseg_export.parity.bundle import measure_bundle, needed_bytes, saved_bytes
from hyperseg_runtime.bundle.manifest import Manifest, ParityEntry
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.errors import ResourceError

WORKER = "hyperseg_export.comparison"
CALLS = ".parity-"
"""What the folders of recorded calls begin with."""
APART_FROM_BYTES = 2_000_000_000
"""What needs less is compared here: to start torch once more takes longer than the comparison of a small model."""


class ComparisonJob(BaseModel):
    """Which checked graphs to compare with which checkpoint, on which photographs. The manifest need not be written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: Path
    manifest: Manifest
    checkpoint: Path
    adapter: Path | None
    context: int | None
    images: tuple[Path, ...]
    folder: Path


class Compared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    parity: tuple[ParityEntry, ...]


def forget_calls(scratch: Path) -> None:
    """Remove what comparisons that were killed left in `scratch`, where no other process compares."""
    for folder in scratch.glob(f"{CALLS}*"):
        shutil.rmtree(folder)


def compare_bundle(
    bundle: Bundle, opened: CheckpointModel, images: Sequence[Path], scratch: Path, progress: Progress
) -> tuple[ParityEntry, ...]:
    """Every graph on `images`; calls lie in a folder inside `scratch` meanwhile.

    What it needs is said first if that is much. Raises ResourceError where the disk cannot hold the calls, or where the
    process was killed; BundleError, NumericsError.
    """
    memory, disk = needed_bytes(opened.model), saved_bytes(opened.model, len(images))
    if disk > shutil.disk_usage(scratch).free:
        raise ResourceError(
            f"{scratch}: comparing takes about {disk / 1e9:.1f} GB of disk for a while, there are "
            f"{shutil.disk_usage(scratch).free / 1e9:.1f} GB free; free some, or take fewer photographs"
        )
    with tempfile.TemporaryDirectory(dir=scratch, prefix=CALLS) as folder:
        if memory < APART_FROM_BYTES:
            return measure_bundle(bundle, opened.model, opened.family.tolerances, images, Path(folder), progress)
        needs = f"about {memory / 1e9:.1f} GB of memory and {disk / 1e9:.1f} GB of disk"
        free = available_bytes()
        there = "" if free is None else f"; {free / 1e9:.1f} GB of memory are free"
        progress.note(f"comparing graphs with modules takes {needs}{there}")
        job = ComparisonJob(
            bundle=bundle.directory,
            manifest=bundle.manifest,
            checkpoint=opened.origin.checkpoint,
            adapter=opened.origin.adapter,
            context=opened.origin.context,
            images=tuple(images),
            folder=Path(folder),
        )
        advice = f"; it needs {needs}{there}: close other programs, or use a machine with more"
        return run_worker(WORKER, "parity", job, Compared, progress, advice).parity


def measure(job: ComparisonJob) -> Compared:
    opened = open_checkpoint(job.checkpoint, job.adapter, job.context)
    bundle = Bundle(job.bundle, job.manifest)
    parity = measure_bundle(bundle, opened.model, opened.family.tolerances, job.images, job.folder, Said())
    return Compared(parity=parity)


if __name__ == "__main__":
    keep_stdout()
    run_job(ComparisonJob, measure)
