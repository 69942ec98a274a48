"""Result files: how they are named, how they are recognised, and that they replace nothing else.

A result is called after the whole file name of its input, so that no two inputs of a folder share one: photo.jpg gives
photo.jpg.mask.png, and photo.png another. What is at the name already is replaced only if it is a result that this
program wrote for the very same input and nobody has changed since; every other file is refused, unless `overwrite`.

Each file ends in a seal, in a form that its format ignores: a digest of the input's path and one of all bytes before
the seal. So results are recognised by content, wherever they are, and are never read as frames or images. Plain text
has no such form: those files have no seal, and are replaced with `overwrite` only; a batch notes hashes of its own.
"""

import hashlib
import os
import re
import stat
import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hyperseg_runtime.errors import InputError, OutputError
from hyperseg_runtime.files.writing import explained, write_atomically

SEAL = "hyperseg-trt result of {source} with content {content}"
SEAL_PATTERN = re.compile(rb"hyperseg-trt result of ([0-9a-f]{16}) with content ([0-9a-f]{64})")
TAIL_BYTES = 256
"""More than a seal and what is around it takes."""
PNG_END = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
JSON_END = b"\n}\n"
UNSEALED = ".txt"


class Kind(StrEnum):
    """What a result file shows, and its ending."""

    MASK = "mask.png"
    OVERLAY = "overlay.png"
    RESULT = "result.json"
    REPORT = "report.html"
    OBJECTS = "objects.png"
    COCO = "coco.json"
    POLYGONS = "polygons.json"
    LABELME = "labelme.json"
    YOLO = "yolo.txt"

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
    """The content of a PNG, JSON, HTML or MP4 file with a seal at its end."""
    end, close = next((end, close) for is_this, end, close in FORMATS if is_this(data))
    before = data.removesuffix(end)
    return before + close(seal(hashlib.sha256(before), source))


def seal(before: "hashlib._Hash", source: str) -> str:
    """`source` goes in as a digest: the path itself stays out of what people hand on."""
    return SEAL.format(source=source_digest(source), content=before.hexdigest())


def png_end(text: str) -> bytes:
    chunk = b"tEXtSoftware\0" + text.encode()
    return struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + PNG_END


def json_end(text: str) -> bytes:
    """The end of an object after members that are indented by one."""
    return f',\n "written_by": "{text}"'.encode() + JSON_END


def html_end(text: str) -> bytes:
    return f"<!-- {text} -->\n".encode()


def mp4_end(text: str) -> bytes:
    """A box that players pass over (ISO/IEC 14496-12, 8.1.2)."""
    return struct.pack(">I", 8 + len(text)) + b"free" + text.encode()


FORMATS: tuple[tuple[Callable[[bytes], bool], bytes, Callable[[str], bytes]], ...] = (
    (lambda data: data.endswith(PNG_END), PNG_END, png_end),
    (lambda data: data.endswith(JSON_END), JSON_END, json_end),
    (lambda data: data[4:8] == b"ftyp", b"", mp4_end),
    (lambda data: True, b"", html_end),
)
"""What tells a format, and how it ends without and with a seal."""


def source_digest(source: str) -> str:
    return hashlib.sha256(os.fsencode(source)).hexdigest()[:16]


def result_of(path: Path) -> str | None:
    """The digest of the input that the result file `path` was written for; None for any other file, also for a
    result that was changed.
    """
    if not os.path.isfile(path):  # noqa: PTH113  (Path.is_file raises for some names; a pipe would be waited for)
        return None
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            tail = file.read()
            found = SEAL_PATTERN.search(tail)
            ends = [end for *_, close in FORMATS if found and tail.endswith(end := close(found[0].decode()))]
            if not found or not ends:
                return None
            file.seek(0)
            before = hashlib.sha256(file.read(size - len(ends[0])))
    except OSError:
        return None
    return found[1].decode() if before.hexdigest().encode() == found[2] else None


def refuse_own_result(path: Path) -> None:
    """Raise InputError for an input that is a result of this program."""
    if result_of(path) is not None:
        raise InputError(f"{path}: is a result that this program wrote; name what it was made from")


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
        write_atomically(path, data if name.endswith(UNSEALED) else sealed(data, source))
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
