"""A checkpoint, whichever of the known forms it has."""

import os
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from hyperseg_export.checkpoint.folder import INDEX, SINGLE, Checkpoint
from hyperseg_export.checkpoint.pickle_file import ENDINGS, PickleCheckpoint
from hyperseg_runtime.errors import CheckpointError
from hyperseg_runtime.files.unreadable import why_no_folder


class StoredTensors(Protocol):
    """Names, shapes and types of all tensors of a checkpoint; data is read one tensor at a time."""

    @property
    def directory(self) -> Path: ...

    @property
    def folder(self) -> Path | None:
        """The folder that was named, whose other files belong to the checkpoint; None where a file was."""
        ...

    @property
    def files(self) -> set[Path]:
        """All that hold its tensors."""
        ...

    @property
    def config(self) -> dict[str, Any]: ...

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]: ...

    @property
    def dtypes(self) -> dict[str, torch.dtype]: ...

    def tensor(self, name: str) -> Tensor: ...

    def bytes_of(self, name: str) -> int: ...

    def fingerprint(self) -> str:
        """SHA-256: equal for equal checkpoints."""
        ...


def open_weights(path: Path) -> StoredTensors:
    """A folder of safetensors shards, or a pickle of tensors (a file, or the only one of a folder).

    Raises CheckpointError, also for a folder that has both: one of them would be left out.
    """
    if os.path.isfile(path):  # noqa: PTH113  (Path.is_file raises where a folder above cannot be read)
        if path.suffix not in ENDINGS:
            raise CheckpointError(f"checkpoint {path}: expected a folder, or a file ending in {', '.join(ENDINGS)}")
        return PickleCheckpoint.open(path)
    has_shards = any(os.path.lexists(path / name) for name in (INDEX, SINGLE))
    has_pickle = why_no_folder(path) is None and any(file.suffix in ENDINGS for file in path.iterdir())
    return PickleCheckpoint.open(path) if has_pickle and not has_shards else Checkpoint.open(path)
