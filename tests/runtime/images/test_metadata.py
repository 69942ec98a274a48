"""Damaged metadata goes away, sound EXIF stays."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hyperseg_runtime.images.metadata import with_exif_alone
from hyperseg_runtime.images.reading import decode_image

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
TIFF_EXIF = b"II*\0\x08\0\0\0" + struct.pack("<HHHIHxxI", 1, 0x0112, 3, 1, 6, 0)
"""A turn to the right and nothing else."""


def saved(kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes, damage: int = 0) -> bytes:
    checksum = zlib.crc32(kind + content) ^ damage
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(*chunks: bytes) -> bytes:
    """Chunks behind the header."""
    data = saved("PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def jpeg(*segments: bytes) -> bytes:
    return saved("JPEG", exif=b"Exif\0\0" + TIFF_EXIF).replace(b"\xff\xdb", b"".join(segments) + b"\xff\xdb", 1)


def webp(*chunks: bytes) -> bytes:
    body = b"WEBP" + saved("WEBP", lossless=True, exif=b"Exif\0\0" + TIFF_EXIF)[12:] + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


EXIF = chunk(b"eXIf", TIFF_EXIF)
EXIF_IN_TEXT = chunk(
    b"tEXt", f"Raw profile type exif\0\nexif\n{len(TIFF_EXIF) + 6}\n{(b'Exif' + bytes(2) + TIFF_EXIF).hex()}".encode()
)
BAD_TEXT = chunk(b"tEXt", b"comment\0words", damage=1)
BAD_PROFILE = b"\xff\xe2\0\x0fICC_PROFILE\0\x01"
BAD_XMP = b"XMP " + struct.pack("<I", 100) + b"<"
TURNED = {
    "png": (png(EXIF), png(BAD_TEXT, EXIF)),
    "png, as text": (png(EXIF_IN_TEXT), png(BAD_TEXT, EXIF_IN_TEXT)),
    "jpeg": (jpeg(), jpeg(BAD_PROFILE)),
    "webp": (webp(), webp(BAD_XMP)),
}


@pytest.mark.parametrize("name", TURNED)
def test_damage_beside_the_exif_leaves_an_image_upright(name: str) -> None:
    sound, damaged = TURNED[name]
    expected = decode_image(io.BytesIO(sound), name)
    assert expected.shape == (24, 16, 3)
    with pytest.raises(OSError, match=r"."), Image.open(io.BytesIO(damaged)) as image:
        image.load()
    assert np.array_equal(decode_image(io.BytesIO(damaged), name), expected)


def test_exif_that_cannot_be_read_is_given_up() -> None:
    damaged = png(BAD_TEXT, chunk(b"eXIf", TIFF_EXIF, damage=1))
    assert np.array_equal(decode_image(io.BytesIO(damaged), "a"), PIXELS)


@pytest.mark.parametrize("data", [saved("GIF"), b"", b"RIFF"])
def test_of_other_formats_nothing_is_taken(data: bytes) -> None:
    assert with_exif_alone(data) is None
