"""Files of very many parts: refused after few of them, whatever the format; files as they are made are read."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hyperseg_runtime.calls.stopping import stoppable
from hyperseg_runtime.errors import ImageError
from hyperseg_runtime.images.guarded import BYTES_OF_A_READ, HEADER_READS, WEBP_PARTS, GuardedFile
from hyperseg_runtime.images.metadata import without_metadata
from hyperseg_runtime.images.reading import decode_image, read_header

PARTS = 100_000
PIXELS = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)


def saved(kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(part: bytes, count: int) -> bytes:
    """Parts behind the header."""
    data = saved("PNG")
    return data[:33] + part * count + data[33:]


def jpeg(part: bytes, count: int) -> bytes:
    data = saved("JPEG")
    return data[:2] + part * count + data[2:]


def webp(part: bytes, count: int) -> bytes:
    data = saved("WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0")
    body = data[12:30] + part * count + data[30:]
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


NESTED = b"ANMF" + struct.pack("<I", 16 + 8 * PARTS) + bytes(16) + (b"JUNK" + bytes(4)) * PARTS
MANY: dict[str, bytes] = {
    "empty chunks": png(chunk(b"teSt"), PARTS),
    "empty pixels": png(chunk(b"IDAT"), PARTS),
    "texts": png(chunk(b"tEXt", b"k\0v"), PARTS),
    "palettes": png(chunk(b"PLTE", bytes(3)), PARTS),
    "application segments": jpeg(b"\xff\xe1\0\2", PARTS),
    "comments": jpeg(b"\xff\xfe\0\2", PARTS),
    "tables": jpeg(b"\xff\xdb\0\2", PARTS),
    "fill bytes": jpeg(b"\xff", PARTS),
    "unknown chunks": webp(b"JUNK" + bytes(4), PARTS),
    "chunks of a frame": webp(NESTED, 1),
}


@pytest.mark.parametrize("name", MANY)
def test_many_parts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the size nor the pixels are looked for beyond the bound, and nothing is tried without the parts."""
    reads, data = [], MANY[name]
    read = GuardedFile.read
    monkeypatch.setattr(GuardedFile, "read", lambda file, size=-1: reads.append(size) or read(file, size))
    if name != "empty pixels":  # the size stands before them
        with pytest.raises(ImageError, match="more parts than any of its size needs"):
            read_header(GuardedFile(data, header_alone=True))
    with pytest.raises(ImageError, match="more parts than any of its size needs"):
        decode_image(GuardedFile(data), "the image")
    assert len(reads) <= 2 * (HEADER_READS + 1) + len(data) // BYTES_OF_A_READ


@pytest.mark.parametrize("name", [name for name in MANY if name not in ("tables", "palettes", "fill bytes")])
def test_metadata_of_many_parts_is_not_taken_away(name: str) -> None:
    """What is needed is within the bound, or nothing is."""
    plain = without_metadata(MANY[name])
    assert plain is None or len(plain) >= len(MANY[name]) - WEBP_PARTS


@pytest.mark.parametrize(
    "data",
    [
        saved("PNG"),
        saved("JPEG"),
        saved("WEBP", lossless=True),
        png(chunk(b"teSt", b"x"), 900),
        jpeg(b"\xff\xe1\xff\xff" + bytes(65533), 300),  # a depth map in 300 segments, as telephones write it
        webp(b"JUNK" + bytes(4), 5_000),
    ],
    ids=["png", "jpeg", "webp", "chunks", "segments", "webp chunks"],
)
def test_files_as_they_are_made(data: bytes) -> None:
    assert read_header(GuardedFile(data, header_alone=True)).size == (80, 60)
    assert np.array_equal(decode_image(GuardedFile(data), "a"), decode_image(io.BytesIO(data), "a"))


def test_reading_can_be_stopped() -> None:
    why: Callable[[], Exception] = lambda: TimeoutError("late")  # noqa: E731
    with pytest.raises(TimeoutError, match="late"), stoppable(why):
        GuardedFile(saved("PNG")).read()
