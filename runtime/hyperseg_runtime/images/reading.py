"""Image files and arrays -> RGB uint8. The only place that decodes."""

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from hyperseg_runtime.errors import ImageError

MAX_PIXELS = 100_000_000
"""Refused above: 300 MB as RGB, several times that while masks of this size are made."""

ImageSource = str | Path | Image.Image | np.ndarray

FORMATS = "PNG, JPEG, WebP, BMP, TIFF, GIF and what else Pillow reads"
SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")
EXIF_ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what puts the image upright. `ImageOps.exif_transpose` of Pillow 13 also rewrites the
EXIF data and raises struct.error on tags of unusual types; turning the pixels is all that is needed."""


def load_image(source: ImageSource, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """RGB image (height, width, 3) uint8, EXIF orientation applied.

    Grey becomes three equal channels, 16-bit grey keeps its upper 8 bits, CMYK and palettes are
    converted, transparency is dropped (hidden colours show, as in the original), of an animation the
    first frame is taken. An array must be (H, W), (H, W, 3) or (H, W, 4) uint8.

    Raises ImageError for anything that cannot be read or has more than `max_pixels` (Pillow itself stops
    at 178 million); the size is taken from the header, before any pixel is decoded.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, max_pixels)
    if isinstance(source, Image.Image):
        with _explained("image"):
            return _to_rgb(source, "image", max_pixels)
    path = Path(source)
    if not os.path.isfile(path):  # noqa: PTH113  (Path.is_file raises for names that are too long)
        raise ImageError(f"{path}: no such file")
    # By name, Pillow 13 maps uncompressed TIFFs with the sizes of before the rotation: wrong pixels. A file
    # object is read instead.
    with _explained(str(path)), path.open("rb") as file, read_header(file) as image:
        return _to_rgb(image, str(path), max_pixels)


def _to_rgb(image: Image.Image, name: str, max_pixels: int) -> np.ndarray:
    width, height = image.size
    _check_size(width, height, name, max_pixels)
    image.load()
    with _warnings_off():
        orientation = image.getexif().get(EXIF_ORIENTATION)
    if orientation in UPRIGHT:
        image = image.transpose(UPRIGHT[orientation])
    if image.mode in SIXTEEN_BIT:
        # Pillow's own conversion clips at 255, which turns a 16-bit image white.
        grey = (np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode == "P":  # a palette may carry transparency, which convert("RGB") cannot express
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


def _from_array(array: np.ndarray, max_pixels: int) -> np.ndarray:
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ImageError(
            f"expected a uint8 array (H, W), (H, W, 3) or (H, W, 4) with RGB order, got {array.dtype} {array.shape}"
        )
    _check_size(array.shape[1], array.shape[0], "image array", max_pixels)
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    return np.array(array[:, :, :3], order="C")  # a copy: the caller may reuse its buffer, a session reads later


def _check_size(width: int, height: int, name: str, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"{name}: {width} x {height} px holds no pixel")
    if width * height > max_pixels:
        raise ImageError(
            f"{name}: {width} x {height} px is {width * height} pixels, at most {max_pixels} are read; scale it down"
        )


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises on damaged data into ImageError."""
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not an image; readable are {FORMATS}") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: {error}; at most {MAX_PIXELS} pixels are read; scale it down") from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ...
        raise ImageError(f"{name}: damaged image: {error}") from error


_warnings_lock = threading.Lock()


@contextmanager
def _warnings_off() -> Iterator[None]:
    """Without Pillow's warnings: about sizes (our own limit follows) and about odd EXIF data (not our concern)."""
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_header(file: BinaryIO, formats: tuple[str, ...] | None = None) -> Image.Image:
    """An image whose header alone was read. `formats` names the decoders to try; None for all.

    Raises what Pillow raises.
    """
    with _warnings_off():
        return Image.open(file, formats=formats)
