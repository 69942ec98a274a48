"""Tiny checkpoints of every family, written whole or not at all."""

import shutil
import tempfile
from pathlib import Path

from hyperseg_export.families.registry import EXPORT_FAMILIES
from hyperseg_export.jobs.replacing import require_replaceable
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.files.writing import explained, replace_folder


def make_tiny(directory: Path, family: str | None, seed: int, overwrite: bool = False) -> str:
    """Write a random checkpoint of `family` (None: the first known) and return its name.

    Raises InputError, or OutputError if `directory` exists.
    """
    family = family or next(iter(EXPORT_FAMILIES))
    if family not in EXPORT_FAMILIES:
        raise InputError(f"unknown family {family!r}; families known here: {', '.join(EXPORT_FAMILIES)}")
    require_replaceable(directory, overwrite)
    with explained(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}."))
        try:
            staging.chmod(0o755)
            EXPORT_FAMILIES[family].random.write(staging, "tiny", seed)
            require_replaceable(directory, overwrite)  # what came meanwhile stays
            replace_folder(staging, directory)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
    return family
