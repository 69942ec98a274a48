"""Result files: how they are named, how they are recognised, and that they replace nothing else.

A result is called after the whole file name of its input, so that no two inputs of a folder share one: photo.jpg gives
photo.jpg.mask.png, and photo.png another. What is at the name already is replaced only if it is a result that this
program wrote for the very same input and nobody has changed since; every other file is refused, unless `overwrite`.

Each file ends in a seal, in a form that its format ignores: a digest of the input's path and one of all bytes before
the seal. So results are recognised by content, wherever they are, and are never read as frames or images.
"""

import hashlib
import os
import re
import stat
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hyperseg_runtime.errors import InputError, OutputError
from hyperseg_runtime.files import explained, write_atomically

SEAL = "hyperseg-trt result of {source} with content {content}"
SEAL_PATTERN = rb"hyperseg-trt result of ([0-9a-f]{16}) with content ([0-9a-f]{64})"
TAIL_BYTES = 256
"""More than a seal and what follows it take."""

PNG_END = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
JSON_END = b"\n}\n"
TAILS = (
    re.compile(rb"...." + rb"tEXtSoftware\0" + SEAL_PATTERN + rb"...." + re.escape(PNG_END) + rb"\Z", re.S),
    re.compile(rb',\n "written_by": "' + SEAL_PATTERN + rb'"\n}\n\Z'),
    re.compile(rb"<!-- " + SEAL_PATTERN + rb" -->\n\Z"),
)


class Kind(StrEnum):
    """What a result file shows, and its ending."""

    MASK = "mask.png"
    OVERLAY = "overlay.png"
    RESULT = "result.json"
    REPORT = "report.html"

    @property
    def key(self) -> str:
        """What the command line calls it."""
        return "json" if self is Kind.RESULT else self.split(".")[0]


def result_name(name: str, kind: Kind, number: int | None = None) -> str:
    """The result's file name: the input's, the kind, the number if there are several. No two of them give one name."""
    what, ending = kind.split(".")
    return f"{name}.{what}.{ending}" if number is None else f"{name}.{what}-{number}.{ending}"


def input_source(path: str | Path) -> str:
    """What tells one input from another: its full path."""
    return os.path.realpath(path)


def sealed(data: bytes, source: str) -> bytes:
    """The content of a PNG, JSON or HTML file with a seal at its end."""
    if data.endswith(PNG_END):
        before = data.removesuffix(PNG_END)
        chunk = b"tEXtSoftware\0" + seal(hashlib.sha256(before), source).encode()
        return before + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + PNG_END
    if data.endswith(JSON_END):
        before = data.removesuffix(JSON_END)
        return before + json_end(hashlib.sha256(before), source)
    return data + f"<!-- {seal(hashlib.sha256(data), source)} -->\n".encode()


def json_end(before: "hashlib._Hash", source: str) -> bytes:
    """The end of a JSON object after the bytes hashed so far, which hold members indented by one."""
    return f',\n "written_by": "{seal(before, source)}"'.encode() + JSON_END


def seal(before: "hashlib._Hash", source: str) -> str:
    """`source` goes in as a digest: the path itself stays out of what people hand on."""
    return SEAL.format(source=source_digest(source), content=before.hexdigest())


def source_digest(source: str) -> str:
    return hashlib.sha256(os.fsencode(source)).hexdigest()[:16]


def result_of(path: Path) -> str | None:
    """The digest of the input that the result file `path` was written for; None for any other file, also for a
    result that was changed.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            tail = file.read()
            found = next((match for pattern in TAILS if (match := pattern.search(tail))), None)
            if found is None:
                return None
            file.seek(0)
            before = file.read(size - len(tail) + found.start())
    except OSError:
        return None
    intact = hashlib.sha256(before).hexdigest().encode() == found[2]
    return found[1].decode() if intact else None


def refuse_own_result(path: Path) -> None:
    """Raise InputError for an input that is a result of this program."""
    if result_of(path) is not None:
        raise InputError(f"{path}: is a result that this program wrote; name the image that it was made from")


@dataclass(frozen=True)
class ResultFolder:
    """Where results go. `overwrite` lets them replace whatever file has their name; never a folder."""

    directory: Path
    overwrite: bool = False

    def require_free(self, names: Iterable[str], source: str) -> None:
        """Raise OutputError if results of these names cannot be written for `source`: before the work, not after."""
        for name in names:
            self._require_free(self.directory / name, source)

    def write(self, name: str, data: bytes, source: str) -> Path:
        """Write one result for the input with the full path `source`. Raises OutputError and ResourceError."""
        path = self.directory / name
        self._require_free(path, source)
        write_atomically(path, sealed(data, source))
        return path

    def _require_free(self, path: Path, source: str) -> None:
        with explained(path):
            try:
                found = path.lstat()
            except FileNotFoundError:
                return
        if path.is_dir():
            raise OutputError(f"{path}: is a folder; choose another place with --out")
        if self.overwrite:
            return
        owner = result_of(path) if stat.S_ISREG(found.st_mode) else None
        if owner is None:
            raise OutputError(
                f"{path}: exists and is no unchanged result of this program; choose another place with --out, or "
                "replace it with --overwrite"
            )
        if owner != source_digest(source):
            raise OutputError(
                f"{path}: is the result of another input of this name; choose another place with --out, or "
                "replace it with --overwrite"
            )
