"""A picture that lies over an image and marks a region of it: a mask, or a scribble.

Marked is what shows where the picture is not opaque everywhere, as in a drawing on a transparent ground, whatever
colour hides there. In any other picture it is whatever is not black: numbers of objects in 8 or 16 bits count as they
stand, however small. Files that were compressed with loss have faint pixels around every edge: there a pixel is marked
from half of the full scale on. Of colours in 16 bits Pillow gives the upper 8 alone.
"""

from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from hyperseg_runtime.images.formats import HEAD_BYTES
from hyperseg_runtime.images.reading import (
    MAX_PIXELS,
    WIDE_MODES,
    decode_with,
    open_image_file,
    upright,
    wide_grey,
)

LOSSY = ("JPEG", "MPO", "JPEG2000", "AVIF", "WEBP")
LOSSY_IN_TIFF = ("jpeg", "tiff_jpeg", "webp")
LOSSLESS_WEBP = b"VP8L"
"""Name of the part that holds the pixels, among the first of the file (RFC 9649, section 2)."""


def load_marked(path: Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Marked pixels of a picture, upright, (H, W) bool. Raises ImageError as `load_image`."""
    with open_image_file(path) as file:
        return decode_marked(file, str(path), max_pixels)


def decode_marked(
    file: BinaryIO, name: str, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] | None = None
) -> np.ndarray:
    """The same from an open file, see `decode_image`."""
    file.seek(0)
    lossless_webp = LOSSLESS_WEBP in file.read(HEAD_BYTES)
    return decode_with(partial(_marked, lossless_webp=lossless_webp), file, name, max_pixels, formats)


def _marked(image: Image.Image, lossless_webp: bool) -> np.ndarray:
    lossy = _is_lossy(image) and not lossless_webp
    if image.mode in WIDE_MODES:
        return _reaches(*wide_grey(image), lossy)
    image = upright(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        shown = _reaches(np.asarray(image.getchannel("A")), 8, lossy)
        if not shown.all():
            return shown
    return _reaches(np.asarray(image.convert("RGB")).max(2), 8, lossy)


def _is_lossy(image: Image.Image) -> bool:
    return image.format in LOSSY or image.info.get("compression") in LOSSY_IN_TIFF


def _reaches(samples: np.ndarray, bits: int, lossy: bool) -> np.ndarray:
    """Not black, or half of the full scale; (H, W) bool."""
    reached: np.ndarray = samples >= (2 ** (bits - 1) if lossy else 1)
    return reached
