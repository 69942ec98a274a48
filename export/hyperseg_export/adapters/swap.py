"""Another adapter for a bundle, without exporting it again."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hyperseg_export.adapters.slots import filled, write_factors
from hyperseg_export.checkpoint.lora import AdapterFolder
from hyperseg_export.jobs.progress import Progress, Silent
from hyperseg_export.jobs.staging import Staging, content_key
from hyperseg_export.parity.entries import require_passed
from hyperseg_export.verify import compare_with_checkpoint
from hyperseg_runtime.bundle.manifest import FILE_NAME, AdapterEntry, Manifest
from hyperseg_runtime.bundle.opening import Bundle, read_manifest
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.files.writing import explained, write_atomically


def slots_of(directory: Path, manifest: Manifest) -> AdapterEntry:
    """Raises InputError for a bundle whose adapter, if any, is merged."""
    if manifest.adapter is None:
        merged = "its adapter is merged" if manifest.provenance.adapter_sha256 else "it was exported without one"
        raise InputError(
            f"bundle {directory}: it keeps no adapter apart from the weights ({merged}); "
            "export it with --keep-adapter to make a bundle whose adapter can be swapped"
        )
    return manifest.adapter


def swap_adapter(
    directory: Path, adapter: Path, checkpoint: Path | None = None, progress: Progress | None = None
) -> Manifest:
    """Put `adapter` into the bundle; nothing changes but the adapter's data file and the manifest.

    With `checkpoint` parity is measured anew, else it becomes "not measured". The new bundle is built beside
    the old one from hard links and takes its name at the end. Raises CheckpointError for an adapter that does
    not fit, InputError, BundleError, ParityError or OutputError; the bundle is then as before.
    """
    progress = progress or Silent()
    directory = directory.resolve()  # a link to a bundle stays a link
    entry = slots_of(directory, read_manifest(directory))
    opened = AdapterFolder.open(adapter)
    filled(entry, opened.adapters)  # before anything is written or hashed
    with Staging(directory, overwrite=True, mark="swap", keeps_others=True) as staging:
        progress.stage("bundle", 1, 2)
        old = Bundle.open(directory).manifest
        entry = filled(slots_of(directory, old), opened.adapters)
        kept = [name for name in _files(directory) if name not in (entry.file, FILE_NAME)]
        _link(directory, staging.directory, kept)

        def write(folder: Path) -> tuple[Iterable[str], dict[str, Any]]:
            write_factors(folder / entry.file, entry, opened.adapters)
            return [entry.file], {}

        progress.stage("adapter", 2, 2)
        written = staging.run("adapter", content_key(opened.sha256, entry.model_dump(mode="json")), write)
        provenance = old.provenance.model_copy(update={"adapter_sha256": opened.sha256})
        files = {**old.files, **written.files}
        changes = {"adapter": entry, "files": files, "provenance": provenance, "parity": None}
        manifest = old.model_copy(update=changes)
        if checkpoint is not None:
            swapped = Bundle(staging.directory, manifest)
            parity = compare_with_checkpoint(swapped, checkpoint, adapter, [], progress)
            require_passed(parity, "the bundle keeps its old adapter")
            manifest = manifest.model_copy(update={"parity": parity})
        write_atomically(staging.directory / FILE_NAME, manifest.to_bytes())
        staging.commit([*kept, entry.file, FILE_NAME])
    return manifest


def _files(folder: Path) -> list[str]:
    """Everything in it: engines built for the bundle lie there too."""
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def _link(source: Path, target: Path, names: Iterable[str]) -> None:
    """The files `names` of one folder in another too, in place of what a killed swap left there."""
    with explained(target):
        for name in sorted(names):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).unlink(missing_ok=True)
            os.link(source / name, target / name)
