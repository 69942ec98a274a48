"""A checkpoint folder: config.json and safetensors shards, opened lazily and never trusted."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hyperseg_export.checkpoint.unread import ADAPTER_WEIGHTS, refuse_unread
from hyperseg_runtime.errors import CheckpointError
from hyperseg_runtime.files.hashing import remembered_hash
from hyperseg_runtime.files.unreadable import MISSING, stand_in_of, why_no_folder, why_unreadable

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
READ_AT_ONCE_BYTES = 256 * 2**20
"""A shard is opened anew when so much was read of it: what was read stays in memory for as long as it is open, and
opening one of a thousand tensors takes 10 ms."""


@dataclass
class _OpenShard:
    path: Path
    file: Any
    left_bytes: int


@dataclass
class Checkpoint:
    """Names, shapes and dtypes of all tensors; data is read one tensor at a time.

    `tensor(name)` returns the stored values; whole checkpoints never sit in memory.
    """

    directory: Path
    config: dict[str, Any]
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    dtypes: dict[str, torch.dtype] = field(default_factory=dict)
    shards: dict[str, Path] = field(default_factory=dict)
    """tensor name -> file"""
    _open: "_OpenShard | None" = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def open(cls, directory: Path) -> "Checkpoint":
        """Read all headers. Raises CheckpointError naming what is missing, damaged or contradictory."""
        if reason := why_no_folder(directory):
            raise CheckpointError(f"checkpoint {directory}: {'no such folder' if reason == MISSING else reason}")
        checkpoint = cls(directory, read_json(directory / CONFIG))
        expected = _index(directory)
        for file in sorted(set(expected.values())) if expected else [SINGLE]:
            checkpoint.add_file(directory / file)
        if expected:
            checkpoint._compare_with_index(expected)
        refuse_unread(directory, (*checkpoint.files, directory / ADAPTER_WEIGHTS))
        return checkpoint

    def add_file(self, path: Path) -> None:
        """Add one safetensors file's tensors."""
        with _opened(path) as file:
            for name in file.keys():  # noqa: SIM118  (a safetensors file is no mapping)
                if name in self.shards:
                    raise CheckpointError(f"checkpoint: {name} is in both {self.shards[name].name} and {path.name}")
                part = file.get_slice(name)
                if part.get_dtype() not in DTYPES:
                    raise CheckpointError(
                        f"checkpoint: {name} has dtype {part.get_dtype()}; known: {', '.join(DTYPES)}"
                    )
                self.shapes[name] = tuple(part.get_shape())
                self.dtypes[name] = DTYPES[part.get_dtype()]
                self.shards[name] = path

    def tensor(self, name: str) -> Tensor:
        path, size = self.shards[name], self.bytes_of(name)
        if self._open is None or self._open.path != path or self._open.left_bytes < size:
            self._open = _OpenShard(path, _opened(path), READ_AT_ONCE_BYTES)
        self._open.left_bytes -= size
        stored: Tensor = self._open.file.get_tensor(name)
        return stored

    @property
    def folder(self) -> Path:
        return self.directory

    @property
    def files(self) -> set[Path]:
        """All shards."""
        return set(self.shards.values())

    def bytes_of(self, name: str) -> int:
        count = 1
        for extent in self.shapes[name]:
            count *= extent
        return count * self.dtypes[name].itemsize

    def fingerprint(self) -> str:
        """SHA-256 over the names, dtypes, shapes and data files: equal for equal checkpoints."""
        digest = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode())
        for path in sorted(self.files):
            digest.update(path.name.encode())
            digest.update(bytes.fromhex(remembered_hash(path)))
        return digest.hexdigest()

    def _compare_with_index(self, expected: Mapping[str, str]) -> None:
        absent = sorted(name for name, file in expected.items() if self._file_of(name) != file)
        if absent:
            raise CheckpointError(
                f"checkpoint: {INDEX} places {absent[0]} in {expected[absent[0]]}, which does not hold it"
                + (f" ({len(absent)} such tensors)" if len(absent) > 1 else "")
            )
        extra = sorted(set(self.shards) - set(expected))
        if extra:
            raise CheckpointError(f"checkpoint: {self._file_of(extra[0])} holds {extra[0]}, not in {INDEX}")

    def _file_of(self, name: str) -> str | None:
        return self.shards[name].name if name in self.shards else None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a checkpoint file; CheckpointError where there is none."""
    require_content(path, path.name)
    try:
        value = json.loads(path.read_bytes())  # UTF-8 also with the mark that some editors put before it
    except (ValueError, OSError, RecursionError) as error:
        raise CheckpointError(f"checkpoint {path.parent}: {path.name} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"checkpoint {path.parent}: {path.name} holds no JSON object")
    return value


def _index(directory: Path) -> dict[str, str]:
    """tensor name -> shard file name; empty where the checkpoint is one file."""
    if not os.path.lexists(directory / INDEX):
        if os.path.lexists(directory / SINGLE):
            return {}
        pickles = sorted(path.name for path in directory.glob("*.bin"))
        hint = f"; {pickles[0]} is a pickle and can run code: convert it to safetensors" if pickles else ""
        raise CheckpointError(f"checkpoint {directory}: expected {INDEX} or {SINGLE}; {_available(directory)}{hint}")
    weight_map = read_json(directory / INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"checkpoint {directory}: {INDEX} has no weight_map")
    for name, file in weight_map.items():
        if not isinstance(file, str) or file in ("", "..") or Path(file).name != file:
            raise CheckpointError(f"checkpoint {directory}: {INDEX} places {name} in {file!r}, not a file name")
    return weight_map


def _available(directory: Path) -> str:
    names = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
    return f"found: {', '.join(names[:8]) or 'nothing'}" + (", ..." if len(names) > 8 else "")


def require_content(path: Path, called: str) -> None:
    """Raise CheckpointError for what is no file of its own."""
    reason = why_unreadable(path)
    if reason == MISSING:
        raise CheckpointError(f"checkpoint {path.parent}: {called} is missing; {_available(path.parent)}")
    if reason := reason or stand_in_of(path):
        raise CheckpointError(f"checkpoint {path.parent}: {called}: {reason}")


def _opened(path: Path) -> Any:
    require_content(path, f"shard {path.name}")
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"checkpoint {path.parent}: shard {path.name} ({path.stat().st_size} bytes) is truncated or "
            f"damaged: {error}; download it again"
        ) from error
