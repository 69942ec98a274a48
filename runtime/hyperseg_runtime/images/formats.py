"""Formats told from a file's first bytes, so that what is not read is at least called by its name."""

import shlex
from typing import NamedTuple

from hyperseg_runtime.files.unreadable import stand_in

HEAD_BYTES = 64
NOT_READ = "which is not read here or is damaged"
CONVERT = "convert it to PNG or JPEG, such as: magick {name} {name}.png"
DAMAGED = "which is damaged or of a kind that is not read"
FETCH = "fetch it again, or save what it was made from as an 8-bit PNG or JPEG"


class Format(NamedTuple):
    """`is_image`: a still image that a frame may have been meant to be."""

    title: str
    is_image: bool
    advice: str
    trouble: str = NOT_READ


def _image(title: str) -> Format:
    """One for which a decoder is missing here, as far as is known."""
    return Format(title, True, CONVERT)


def _read(title: str) -> Format:
    """One that is read as a rule: converting a damaged file helps nobody."""
    return Format(title, True, FETCH, DAMAGED)


HEIC = Format("HEIC, the format of Apple's cameras", True, "convert it, such as: heif-convert {name} {name}.png")
AVIF = _image("AVIF")
TIFF = Format(
    "TIFF", True, "save it with 8 or 16-bit integers", "damaged or of a pixel type or compression that is not read"
)
VIDEO = Format("a video", False, "use the verb video")

BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), HEIC),
    **dict.fromkeys((b"avif", b"avis"), AVIF),
    b"crx ": _image("Canon's raw format (CR3)"),
}
"""Of files in ISO's base media format, after "ftyp"; any other brand is a video's."""

BEGINNINGS = {
    b"\x89PNG\r\n\x1a\n": _read("PNG"),
    b"\xff\xd8\xff": _read("JPEG"),
    b"GIF8": _read("GIF"),
    b"BM": _read("BMP"),
    b"\xff\x0a": _image("JPEG XL"),
    b"\0\0\0\x0cJXL \r\n\x87\n": _image("JPEG XL"),
    b"\0\0\0\x0cjP  \r\n\x87\n": _read("JPEG 2000"),
    b"\xff\x4f\xff\x51": _read("JPEG 2000"),
    b"II\xbc\x01": _image("JPEG XR"),
    b"II*\0": TIFF,
    b"MM\0*": TIFF,
    b"II+\0": TIFF,
    b"MM\0+": TIFF,
    b"IIRO": _image("Olympus's raw format (ORF)"),
    b"FUJIFILMCCD-RAW": _image("Fujifilm's raw format (RAF)"),
    b"v/1\x01": _image("OpenEXR"),
    b"#?RADIANCE": _image("Radiance HDR"),
    b"8BPS": _image("Photoshop's PSD"),
    b"%PDF": _image("PDF"),
    b"%!PS": _image("PostScript"),
    b"<svg": _image("SVG"),
    b"<?xml": _image("XML, perhaps SVG"),
    b"SIMPLE  =": _image("FITS"),
    b"\x93NUMPY": Format("a numpy array", False, "load it and give the array to Pipeline"),
    b"\x89HDF\r\n\x1a\n": Format("an HDF5 file", False, "load the image in it and give the array to Pipeline"),
    b"\x1aE\xdf\xa3": VIDEO,
    b"FLV": VIDEO,
    b"OggS": VIDEO,
    b"\0\0\x01\xba": VIDEO,
    b"\0\0\x01\xb3": VIDEO,
    b"PK\x03\x04": Format("a ZIP archive", False, "unpack it"),
    b"\x1f\x8b": Format("gzip", False, "unpack it"),
}


def format_of(head: bytes) -> Format | None:
    """What a file that starts with `head` (at least `HEAD_BYTES`, if it has them) is; None for an unknown format."""
    if head[4:8] == b"ftyp":
        brands = (head[8:12], *(head[at : at + 4] for at in range(16, len(head), 4)))
        return next((BRANDS[brand] for brand in brands if brand in BRANDS), VIDEO)
    if head[:4] == b"RIFF":
        return _read("WebP") if head[8:12] == b"WEBP" else VIDEO
    return next((found for beginning, found in BEGINNINGS.items() if head.startswith(beginning)), None)


def why_no_image(name: str, head: bytes, readable: str) -> str:
    """What to say of a file that no decoder takes: what it stands in for, its format, or the formats that are read."""
    if what := stand_in(head):
        return what
    if found := format_of(head):
        return f"it is {found.title}, {found.trouble}; {found.advice.format(name=shlex.quote(name))}"
    return f"not an image; readable are {readable}"
