"""Tiny checkpoints of every family, written whole or not at all."""

import shutil
import tempfile
from pathlib import Path

from hyperseg_export.families import EXPORT_FAMILIES
from hyperseg_runtime.errors import InputError, OutputError
from hyperseg_runtime.files import explained, replace_folder


def make_tiny(directory: Path, family: str, seed: int, overwrite: bool = False) -> None:
    """Write a random checkpoint of `family`. Raises InputError, or OutputError if `directory` exists."""
    if family not in EXPORT_FAMILIES:
        raise InputError(f"unknown family {family!r}; families known here: {', '.join(EXPORT_FAMILIES)}")
    if directory.exists() and not overwrite:
        raise OutputError(f"{directory} exists; give another name, or --overwrite to replace it")
    with explained(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}."))
        try:
            staging.chmod(0o755)
            EXPORT_FAMILIES[family].write_tiny(staging, seed)
            replace_folder(staging, directory)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
