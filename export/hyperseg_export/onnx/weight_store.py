"""Tensor data of a bundle's graphs, outside the ONNX files. Equal tensors are stored once."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path
from types import TracebackType

import numpy as np

from hyperseg_runtime.files.writing import fsync_file

PAGE_BYTES, LINE_BYTES = 4096, 64
"""Large tensors start on a page, so that a runtime can map them; small ones on a cache line."""


@dataclass(frozen=True)
class Location:
    file: str
    offset: int
    length: int


def aligned(position: int, length: int) -> int:
    """The first offset from `position` on where a tensor of `length` bytes may start."""
    return position + -position % (PAGE_BYTES if length >= PAGE_BYTES else LINE_BYTES)


class WeightStore:
    """Knows where every tensor written so far lies, by the hash of its bytes."""

    def __init__(self, directory: Path, known: Mapping[str, Location]) -> None:
        self.directory = directory
        self._known = dict(known)

    def open(self, file_name: str) -> "WeightFile":
        return WeightFile(self, file_name)

    def find(self, digest: str) -> Location | None:
        return self._known.get(digest)

    def remember(self, digest: str, location: Location) -> None:
        self._known[digest] = location


class WeightFile:
    """One data file being written. A context manager; the file is on disk when the block ends.

    `added` holds what is new in this file, `files` every data file that the tensors lie in: a tensor
    already stored elsewhere is only pointed to.
    """

    def __init__(self, store: WeightStore, file_name: str) -> None:
        self._store = store
        self._name = file_name
        self._file: BufferedWriter | None = None
        self.added: dict[str, Location] = {}
        self.files: set[str] = set()

    def __enter__(self) -> "WeightFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None:
            return
        with self._file:
            if kind is None:
                fsync_file(self._file)

    def add(self, array: np.ndarray) -> Location:
        """Where the bytes of `array` (C-contiguous) lie, written now if they are new."""
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        digest = hashlib.sha256(data).hexdigest()
        location = self._store.find(digest)
        if location is None:
            if self._file is None:
                self._file = (self._store.directory / self._name).open("wb")
            start = self._file.tell()
            offset = aligned(start, len(data))
            self._file.write(bytes(offset - start))
            self._file.write(data)
            location = Location(self._name, offset, len(data))
            self._store.remember(digest, location)
            self.added[digest] = location
        self.files.add(location.file)
        return location
