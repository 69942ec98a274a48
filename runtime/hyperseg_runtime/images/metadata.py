"""An image file without what is not needed to show its pixels.

Colour profiles, EXIF, XMP and comments can be damaged while the pixels are sound, and decoders stop at them.
"""

import struct
from collections.abc import Callable, Iterator
from itertools import islice

PNG, JPEG, RIFF = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"RIFF"
PNG_NEEDED = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS")
PNG_TEXTS, PNG_EXIF_IN_TEXT = (b"tEXt", b"zTXt", b"iTXt"), b"Raw profile type exif\0"
"""Where EXIF stood before PNG had a chunk for it; Pillow obeys it, too."""
WEBP_NEEDED = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF")
WEBP_FLAGS_NEEDED, WEBP_EXIF_FLAG = 0b0001_0010, 0b0000_1000
JPEG_NEEDED = (0xE0, 0xEE)
"""JFIF and Adobe segments say how colours are stored; the other application segments and comments go."""
JPEG_COMMENT, JPEG_SCAN = 0xFE, 0xDA
JPEG_EXIF, JPEG_EXIF_HEAD = 0xE1, b"Exif\0\0"
WEBP_HEAD_BYTES = 12
FEW_PARTS, BYTES_OF_A_PART = 1_000, 512
"""A file may have a few parts of any size; more only where they are so large on average."""


def without_metadata(data: bytes) -> bytes | None:
    """The same image with only what its pixels need; None for formats where that is not known (or not possible), and
    for files of more parts than are looked through.
    """
    return _stripped(data, keep_exif=False)


def with_exif_alone(data: bytes) -> bytes | None:
    """The same with its EXIF, which says how it is turned; None as above."""
    return _stripped(data, keep_exif=True)


def _stripped(data: bytes, keep_exif: bool) -> bytes | None:
    strip: Callable[[bytes, bool], Iterator[bytes]]
    if data.startswith(PNG):
        strip = _png
    elif data.startswith(JPEG):
        strip = _jpeg
    elif data.startswith(RIFF) and data[8:12] == b"WEBP":
        strip = _webp
    else:
        return None
    most = FEW_PARTS + len(data) // BYTES_OF_A_PART
    parts = list(islice(strip(data, keep_exif), most + 1))
    return b"".join(parts) if len(parts) <= most else None


def _png(data: bytes, keep_exif: bool) -> Iterator[bytes]:
    """Chunks: length, kind, content, checksum. As below, what goes away is an empty part."""
    yield PNG
    at = len(PNG)
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        is_exif = kind == b"eXIf" or (kind in PNG_TEXTS and data.startswith(PNG_EXIF_IN_TEXT, at + 8))
        yield data[at : at + size + 12] if kind in PNG_NEEDED or (keep_exif and is_exif) else b""
        at += size + 12


def _jpeg(data: bytes, keep_exif: bool) -> Iterator[bytes]:
    """Segments: 0xFF, kind, length with itself, content; from the first scan on everything stays."""
    yield JPEG
    at = len(JPEG)
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != JPEG_SCAN:
        kind = data[at + 1]
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        is_needed = kind in JPEG_NEEDED or not (0xE0 <= kind <= 0xEF or kind == JPEG_COMMENT)
        is_exif = kind == JPEG_EXIF and data.startswith(JPEG_EXIF_HEAD, at + 4)
        yield data[at:end] if is_needed or (keep_exif and is_exif) else b""
        at = end
    yield data[at:]


def _webp(data: bytes, keep_exif: bool) -> Iterator[bytes]:
    """Chunks of an even size: kind, length, content. The flags of what went away are cleared."""
    needed = (*WEBP_NEEDED, b"EXIF") if keep_exif else WEBP_NEEDED
    flags = WEBP_FLAGS_NEEDED | (WEBP_EXIF_FLAG if keep_exif else 0)
    kept = []
    at = WEBP_HEAD_BYTES
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, at)
        end = at + 8 + size + size % 2
        if kind in needed:
            chunk = data[at:end]
            kept.append(chunk[:8] + bytes([chunk[8] & flags]) + chunk[9:] if kind == b"VP8X" else chunk)
        yield b""
        at = end
    body = b"WEBP" + b"".join(kept)
    yield RIFF + struct.pack("<I", len(body)) + body
