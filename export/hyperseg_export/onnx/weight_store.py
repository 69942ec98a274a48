"""Tensor data of a bundle's graphs, outside the ONNX files. Equal tensors are stored once."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from io import BufferedRandom, TextIOWrapper
from os import SEEK_END
from pathlib import Path
from types import TracebackType

import numpy as np

from hyperseg_runtime.files.writing import fsync_file

PAGE_BYTES, LINE_BYTES = 4096, 64
"""Large tensors start on a page, so that a runtime can map them; small ones on a cache line."""
INLINE_BYTES = 1024
"""Tensors smaller than this stay inside the ONNX file."""


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

    def open(
        self, file_name: str, key: str | None = None, on_bytes: Callable[[int], None] = lambda count: None
    ) -> "WeightFile":
        """With a `key`, what a process wrote under the same key before it was killed is taken over (see `recall`)."""
        return WeightFile(self, file_name, key, on_bytes)

    def find(self, digest: str) -> Location | None:
        return self._known.get(digest)

    def remember(self, digest: str, location: Location) -> None:
        self._known[digest] = location


class WeightFile:
    """One data file being written. A context manager; the file is on disk when the block ends.

    `added` holds what is new in this file, `files` every data file that the tensors lie in: a tensor
    already stored elsewhere is only pointed to. While it is written a journal beside it says what lies where.
    """

    def __init__(self, store: WeightStore, file_name: str, key: str | None, on_bytes: Callable[[int], None]) -> None:
        self._store = store
        self._name = file_name
        self._key = key
        self._on_bytes = on_bytes
        self._file: BufferedRandom | None = None
        self._journal: TextIOWrapper | None = None
        self._written: dict[str, tuple[str, Location]] = {}
        self.added: dict[str, Location] = {}
        self.files: set[str] = set()

    def __enter__(self) -> "WeightFile":
        if self._key is not None:
            self._take_over(self._store.directory / f".{self._name}.journal", self._key)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._journal is not None:
            self._journal.close()
            if kind is None:
                Path(self._journal.name).unlink()
        if self._file is None:
            return
        with self._file:
            if kind is None:
                fsync_file(self._file)

    def recall(self, name: str) -> Location | None:
        """Where the tensor that was added under this name lies, if a killed process wrote it and it is whole."""
        if name not in self._written:
            return None
        digest, location = self._written[name]
        if self._store.find(digest) != location and not self._holds(digest, location):
            return None
        self._on_bytes(location.length)
        return self._found(digest, location)

    def add(self, array: np.ndarray, name: str = "") -> Location:
        """Where the bytes of `array` (C-contiguous) lie, written now if they are new."""
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        digest = hashlib.sha256(data).hexdigest()
        location = self._store.find(digest)
        if location is None:
            if self._file is None:
                self._file = (self._store.directory / self._name).open("w+b")
            start = self._file.seek(0, SEEK_END)
            offset = aligned(start, len(data))
            self._file.write(bytes(offset - start))
            self._file.write(data)
            location = Location(self._name, offset, len(data))
        self._on_bytes(len(data))
        self._note(name, digest, location)
        return self._found(digest, location)

    def _found(self, digest: str, location: Location) -> Location:
        if location.file == self._name:
            self._store.remember(digest, location)
            self.added[digest] = location
        self.files.add(location.file)
        return location

    def _note(self, name: str, digest: str, location: Location) -> None:
        """Into the journal, after the bytes themselves."""
        if self._journal is None:
            return
        if self._file is not None:
            self._file.flush()
        self._journal.write(json.dumps({"name": name, "digest": digest, **asdict(location)}) + "\n")
        self._journal.flush()

    def _take_over(self, journal: Path, key: str) -> None:
        """Go on behind what is written of the same key; else begin anew."""
        data = self._store.directory / self._name
        first, *lines = journal.read_text().splitlines() if journal.is_file() else [""]
        if first == key and data.is_file():
            for line in lines:
                try:
                    row = json.loads(line)
                except ValueError:  # the last line, torn
                    continue
                self._written[row["name"]] = row["digest"], Location(row["file"], row["offset"], row["length"])
            ends = [place.offset + place.length for _, place in self._written.values() if place.file == self._name]
            self._file = data.open("r+b")
            self._file.truncate(max(ends, default=0))
            self._journal = journal.open("a")
            self._journal.write("\n")  # behind a torn line
        else:
            self._journal = journal.open("w")
            self._journal.write(f"{key}\n")
        self._journal.flush()

    def _holds(self, digest: str, location: Location) -> bool:
        """Whether the bytes of a tensor are there as the journal says."""
        if self._file is None or location.file != self._name:
            return False
        self._file.seek(location.offset)
        return hashlib.sha256(self._file.read(location.length)).hexdigest() == digest
