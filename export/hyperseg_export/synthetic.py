"""Checkpoints of random weights at the published sizes, so that anyone can measure without the published ones."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hyperseg_export.export import LIBRARIES, SPARE_BYTES, code_hash
from hyperseg_export.families.family import Preset, WriteFiles
from hyperseg_export.families.registry import EXPORT_FAMILIES
from hyperseg_export.jobs.progress import Progress, Silent
from hyperseg_export.jobs.staging import Staging, Work, content_key
from hyperseg_runtime.bundle.manifest import FileEntry
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.files.writing import output_folder

PRESETS: dict[str, Preset] = {preset.name: preset for family in EXPORT_FAMILIES.values() for preset in family.presets}


def make_synthetic(
    directory: Path,
    preset: str,
    seed: int = 0,
    layers: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> int:
    """Write the checkpoint of a preset, whole or not at all; its bytes. A killed call goes on at the shard it was at.

    `layers` shortens the language model, or the backbone where that is the stack. The same seed gives the same bytes.
    Raises InputError for a preset or layers that there are not, ResourceError where the disk has no room, OutputError
    where `directory` exists.
    """
    chosen, progress = _chosen(preset, layers), progress or Silent()
    key = [preset, seed, layers, sorted(LIBRARIES), code_hash()]
    with output_folder(directory.parent), Staging(directory, overwrite) as staging:
        staging.require_room(chosen.size_bytes(layers) + SPARE_BYTES)
        steps = chosen.files(seed, layers)
        written: dict[str, FileEntry] = {}
        for index, (name, write) in enumerate(steps.items(), 1):
            progress.stage(name, index, len(steps))
            written |= staging.run(name, content_key(name, key), _work(write, progress)).files
            if name in staging.resumed:
                progress.note(f"{name}: finished earlier, kept")
        staging.commit(written)
    return sum(entry.size_bytes for entry in written.values())


def _chosen(preset: str, layers: int | None) -> Preset:
    if preset not in PRESETS:
        raise InputError(f"unknown preset {preset!r}; choose {', '.join(PRESETS)}")
    chosen = PRESETS[preset]
    if layers is not None and not chosen.layered:
        raise InputError(f"{preset} has no stack whose layers could be fewer; leave --layers out")
    return chosen


def _work(write: WriteFiles, progress: Progress) -> Work:
    def work(directory: Path) -> tuple[Iterable[str], dict[str, Any]]:
        return write(directory, lambda done, of: progress.phase("tensors", done, of)), {}

    return work
