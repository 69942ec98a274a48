"""A checkpoint that is one pickle file (.pth): opened as tensors only, mapped, never trusted.

A pickle can run code when it is read. PyTorch's restricted reader (`weights_only`) builds tensors, numbers, strings and
containers and nothing else; a file that wants more is refused. Data stays in the file until a tensor is used.
"""

import hashlib
import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hyperseg_export.checkpoint.folder import CONFIG, DTYPES, read_json
from hyperseg_export.checkpoint.unread import ADAPTER_WEIGHTS, refuse_unread
from hyperseg_runtime.errors import CheckpointError
from hyperseg_runtime.files.hashing import remembered_hash
from hyperseg_runtime.files.unreadable import HEAD_BYTES, MISSING, stand_in, why_unreadable

STATE_DICT = "state_dict"
"""Key of the tensors where a file holds more than them."""
PREFIX = "module."
"""What training on several devices puts before every name."""
ENDINGS = (".pth", ".pt")

KNOWN_DTYPES = frozenset(DTYPES.values())
RESAVE = (
    "where you trust its origin, read it in a place that has nothing to lose and save its tensors alone: "
    'torch.save({"state_dict": model.state_dict()}, "clean.pth")'
)


@dataclass
class PickleCheckpoint:
    """Names, shapes and dtypes of all tensors; `tensor(name)` maps the stored values, a page at a time.

    Names come without the prefix "module.". `config` is config.json beside the file, or empty. `folder` is the folder
    that was named; None where the file was, and what else lies beside it is none of the checkpoint's.
    """

    path: Path
    config: dict[str, Any]
    folder: Path | None = None
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    dtypes: dict[str, torch.dtype] = field(default_factory=dict)
    _tensors: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, path: Path) -> "PickleCheckpoint":
        """A file, or a folder that holds one such file. Raises CheckpointError saying what was found instead."""
        folder, path = path if path.is_dir() else None, find_pickle(path)
        if folder:
            refuse_unread(folder, (path, folder / ADAPTER_WEIGHTS))
        sidecar = path.parent / CONFIG
        checkpoint = cls(path, read_json(sidecar) if os.path.lexists(sidecar) else {}, folder)
        for name, tensor in _state_dict(path, _load(path)).items():
            checkpoint._add(name, tensor)
        return checkpoint

    @property
    def directory(self) -> Path:
        return self.path.parent

    @property
    def files(self) -> set[Path]:
        return {self.path}

    @property
    def names(self) -> list[str]:
        return sorted(self.shapes)

    def tensor(self, name: str) -> Tensor:
        return self._tensors[name]

    def bytes_of(self, name: str) -> int:
        return self._tensors[name].nbytes

    def fingerprint(self) -> str:
        """SHA-256 over config and file: equal for equal checkpoints."""
        digest = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode())
        digest.update(bytes.fromhex(remembered_hash(self.path)))
        return digest.hexdigest()

    def _add(self, stored: object, tensor: object) -> None:
        if not isinstance(stored, str):
            raise CheckpointError(f"{_of(self.path)}: a tensor is named {stored!r}; names are text")
        if not isinstance(tensor, Tensor):
            raise CheckpointError(f"{_of(self.path)}: {stored} is {type(tensor).__name__}, expected a tensor")
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.dtype not in KNOWN_DTYPES:
            known = ", ".join(str(dtype).removeprefix("torch.") for dtype in KNOWN_DTYPES)
            raise CheckpointError(
                f"{_of(self.path)}: {stored} is {tensor.layout} {tensor.dtype}; known are dense tensors of {known}"
            )
        name = stored.removeprefix(PREFIX)
        if name in self._tensors:
            raise CheckpointError(f"{_of(self.path)}: holds both {name} and {PREFIX}{name}; which one is meant?")
        self._tensors[name] = tensor.detach()
        self.shapes[name], self.dtypes[name] = tuple(tensor.shape), tensor.dtype


def find_pickle(path: Path) -> Path:
    """`path` itself, or the one pickle in the folder `path`. Raises CheckpointError where there is none to read."""
    if path.is_dir():
        found = sorted(file.name for file in path.iterdir() if file.suffix in ENDINGS and not file.is_dir())
        if len(found) != 1:
            raise CheckpointError(
                f"checkpoint {path}: expected one file ending in {', '.join(ENDINGS)}, "
                f"found {', '.join(found) or 'none'}" + ("; name the one that is meant" if found else "")
            )
        path = path / found[0]
    if reason := why_unreadable(path):
        raise CheckpointError(f"checkpoint {path}: {'no such file or folder' if reason == MISSING else reason}")
    return path


def _load(path: Path) -> object:
    _refuse_what_is_no_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it wonders about what damage makes of a file's version
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{_of(path)}: holds more than tensors, numbers and text, and reading that can run code: "
            f"{_first_line(error)}; {RESAVE}"
        ) from error
    except Exception as error:  # on damaged files the reader fails wherever its code trips, on assertions too
        raise CheckpointError(f"{_of(path)}: is damaged: {_first_line(error)}; download it again") from error


def _refuse_what_is_no_archive(path: Path) -> None:
    """Only the zip archives that PyTorch has written since version 1.6 can be mapped."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if what := stand_in(head):
        raise CheckpointError(f"{_of(path)}: is {what}")
    if not head.startswith(b"PK"):
        what = "in the format of PyTorch before 1.6" if head.startswith(b"\x80") else "no PyTorch checkpoint"
        raise CheckpointError(f"{_of(path)}: is {what} ({size} bytes, starts with {head[:8]!r}); {RESAVE}")
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CheckpointError(f"{_of(path)}: {size} bytes, truncated or damaged: {error}; download it again") from error
    if not any(name.endswith("/data.pkl") for name in names):
        raise CheckpointError(f"{_of(path)}: is an archive of {', '.join(names[:3])}, ..., not one of PyTorch tensors")
    if any(name.endswith("/constants.pkl") for name in names):
        raise CheckpointError(f"{_of(path)}: is a TorchScript program, expected a state_dict; {RESAVE}")


def _state_dict(path: Path, content: object) -> Mapping[Any, Any]:
    """The mapping of names to tensors: the file's content, or what it holds under "state_dict" or another name
    ("model", "net"). Raises CheckpointError where it holds several, such as the averaged weights of a training run.
    """
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{_of(path)}: holds a {type(content).__name__}, expected tensors by name")
    parts = _sets_of_tensors(content)
    if len(parts) > 1:
        shown = ", ".join(map(str, parts))
        raise CheckpointError(f"{_of(path)}: holds several sets of tensors ({shown}); save the one that is meant alone")
    found: Mapping[Any, Any] = content[parts[0]] if parts else content
    if not found:
        raise CheckpointError(f"{_of(path)}: holds no tensors")
    return found


def _sets_of_tensors(content: Mapping[Any, Any]) -> list[Any]:
    """Keys of the mappings that hold a model's tensors; none where `content` itself is that mapping."""
    has_state_dict = isinstance(content.get(STATE_DICT), Mapping)
    if not has_state_dict and any(isinstance(value, Tensor) for value in content.values()):
        return []
    return [key for key, value in content.items() if _all_tensors(value) or (has_state_dict and key == STATE_DICT)]


def _all_tensors(value: object) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(part, Tensor) for part in value.values())


def _of(path: Path) -> str:
    return f"checkpoint {path.parent}: {path.name}"


def _first_line(error: Exception) -> str:
    """What torch says, without its advice to read the file without protection."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if "GLOBAL" in line or "Unsupported" in line]
    return (named or lines or [type(error).__name__])[0][:300]
