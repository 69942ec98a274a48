"""Image files and arrays -> RGB uint8. The only place that decodes."""

import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from hyperseg_runtime.calls.stopping import may_go_on
from hyperseg_runtime.errors import ImageError, Notice
from hyperseg_runtime.files.unreadable import why_unreadable
from hyperseg_runtime.images import tiff
from hyperseg_runtime.images.formats import HEAD_BYTES, why_no_image
from hyperseg_runtime.images.guarded import GuardedFile
from hyperseg_runtime.images.metadata import with_exif_alone, without_metadata

MAX_PIXELS = 100_000_000
"""Refused above: 300 MB as RGB, several times that while masks of this size are made."""

ImageSource = str | Path | Image.Image | np.ndarray

FORMATS = "PNG, JPEG, WebP, BMP, TIFF, GIF and what else Pillow reads"
SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N")
SIXTEEN_BIT_IN_I = ("PNG", "PPM")
"""Formats whose 16-bit samples Pillow holds in mode I."""
SIXTEEN_BIT_IN = (None, "TIFF", "JPEG2000", *SIXTEEN_BIT_IN_I)
"""Formats whose 16-bit samples are known to be unsigned, and images without a file. Those of FITS are signed."""
WIDE_MODES = (*SIXTEEN_BIT, "I")
"""Of grey with more than 8 bits."""
NO_DECODER = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF")
"""What Pillow opens and cannot decode itself: it asks for a plugin, or starts another program (Ghostscript)."""
XMP = ("xmp", "XML:com.adobe.xmp")
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
    """RGB image (height, width, 3) uint8, upright.

    Upright: EXIF's orientation is applied, as browsers and OpenCV do; one that stands in XMP alone, or cannot be read,
    is not. A Pillow image that was not opened from a file is taken as it is: its maker has turned it or not.

    Pixels: grey becomes three equal channels, grey of 9 to 16 bits keeps its upper 8, CMYK and palettes are converted,
    transparency is dropped (hidden colours show, as in the original), of an animation the first frame is taken, with
    a warning. Floating-point numbers, 32-bit and signed integers are refused: no rule says which value is white. An
    array must be (H, W), (H, W, 3) or (H, W, 4) uint8.

    Raises ImageError for anything that cannot be read or has more than `max_pixels` (Pillow itself stops
    at 178 million); the size is taken from the header, before any pixel is decoded.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, max_pixels)
    if isinstance(source, Image.Image):
        with _explained("image"):
            return _first(source, "image", max_pixels, _rgb)
    if not isinstance(source, str | os.PathLike):
        raise ImageError(f"expected a path, a Pillow image or a uint8 array, got {type(source).__name__}")
    path = Path(source)
    with open_image_file(path) as file:
        return decode_image(file, str(path), max_pixels)


def open_image_file(path: Path) -> BinaryIO:
    """For a decoder. Raises ImageError for what is no file that can be read.

    By name, Pillow 13 maps uncompressed TIFFs with the sizes of before the rotation: wrong pixels. A file object is
    read instead.
    """
    if reason := why_unreadable(path):
        raise ImageError(f"{path}: {reason}")
    return path.open("rb")


def decode_image(
    file: BinaryIO, name: str, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] | None = None
) -> np.ndarray:
    """As `load_image`, from an open file that messages call `name`; `formats` are the decoders to try, None for all."""
    return decode_with(_rgb, file, name, max_pixels, formats)


def decode_with(
    read: Callable[[Image.Image], np.ndarray],
    file: BinaryIO,
    name: str,
    max_pixels: int = MAX_PIXELS,
    formats: tuple[str, ...] | None = None,
) -> np.ndarray:
    """As `decode_image`, with what `read` makes of an image of a size and a kind of pixels that are taken."""
    with _explained(name, file):
        plainer, form = _plainer(file, max_pixels), file
        while True:
            try:
                with read_header(form, formats) as image:
                    return _first(image, name, max_pixels, read)
            except (ImageError, Image.DecompressionBombError, MemoryError):
                raise
            except Exception:  # of many types; if what is not needed was at fault, the rest can be read
                following = next(plainer, None)
                if following is None:
                    raise
                form = following


def read_page(image: Image.Image, number: int, name: str, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """As `load_image`, of one frame of an animation or one page of a file, counted from 0."""
    with _explained(name):
        image.seek(number)
        return _checked(image, name, max_pixels, _rgb)


def _plainer(file: BinaryIO, max_pixels: int) -> Iterator[BinaryIO]:
    """The same image with EXIF alone, then without any metadata. None of it where nothing can be taken away, or the
    file is larger than any image of so many pixels should be.
    """
    limit = 8 * max_pixels + 2**20
    file.seek(0)
    data = file.read(limit + 1)
    if len(data) > limit:
        return
    for plain in dict.fromkeys((with_exif_alone(data), without_metadata(data))):
        if plain is not None and plain != data:
            yield GuardedFile(plain)


def _first(image: Image.Image, name: str, max_pixels: int, read: Callable[[Image.Image], np.ndarray]) -> np.ndarray:
    if has_pages(image):
        warnings.warn(Notice(f"{name}: only its first frame is used"), stacklevel=2)
    return _checked(image, name, max_pixels, read)


def has_pages(image: Image.Image) -> bool:
    """Whether it is one of several; the others of an MPO are previews of the photograph."""
    return getattr(image, "is_animated", False) and image.format != "MPO"


def _checked(image: Image.Image, name: str, max_pixels: int, read: Callable[[Image.Image], np.ndarray]) -> np.ndarray:
    width, height = image.size
    _check_size(width, height, name, max_pixels)
    if what := _of_no_range(image):
        raise ImageError(
            f"{name}: its pixels are {what} (Pillow's mode {image.mode}), and nothing says which value is white; scale "
            "them to 0..255 and save them as 8-bit integers"
        )
    may_go_on()
    return read(image)


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode in WIDE_MODES:
        samples, bits = wide_grey(image)
        grey = (samples >> (bits - 8)).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    image = upright(image)
    may_go_on()
    if image.mode == "P":  # a palette may carry transparency, which convert("RGB") cannot express
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


def wide_grey(image: Image.Image) -> tuple[np.ndarray, int]:
    """Samples of an image of `WIDE_MODES`, upright, (H, W) int64, 0 for black; and how many bits they have.

    Pillow's own conversion clips at 255, which turns a 16-bit image white, and it forgets what TIFF says of them.
    """
    bits = (*tiff.numbers(image, tiff.BITS), 16)[0]
    white_is_zero = tiff.WHITE_IS_ZERO in tiff.numbers(image, tiff.PHOTOMETRIC)
    samples = np.asarray(upright(image)).astype(np.int64)
    return (2**bits - 1 - samples if white_is_zero else samples), bits


def _of_no_range(image: Image.Image) -> str | None:
    """What the pixels are, where no rule says which value is white."""
    if image.mode == "F":
        return "floating-point numbers"
    if image.mode == "I" and image.format not in SIXTEEN_BIT_IN_I:
        return "32-bit or signed integers"
    if tiff.SIGNED in tiff.numbers(image, tiff.SAMPLE_FORMAT) or (
        image.mode in SIXTEEN_BIT and image.format not in SIXTEEN_BIT_IN
    ):
        return "signed integers"
    return None


def upright(image: Image.Image) -> Image.Image:
    """Decoded, and turned as EXIF says if it comes straight from a file."""
    if not isinstance(image, ImageFile.ImageFile):
        return image
    kept: dict[str | tuple[int, int], Any] = {}
    try:
        for step in (image.load, lambda: _orientation(image)):  # Pillow turns some kinds while it loads
            kept |= {key: image.info.pop(key) for key in XMP if key in image.info}  # it would obey XMP, too
            orientation = step()
    finally:
        image.info.update(kept)
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image


def _orientation(image: Image.Image) -> object:
    """None where it cannot be read, whatever Pillow raises then: the pixels are sound."""
    try:
        with _warnings_off():
            return image.getexif().get(EXIF_ORIENTATION)
    except MemoryError:
        raise
    except Exception:
        return None


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
def _explained(name: str, file: BinaryIO | None = None) -> Iterator[None]:
    """Turn whatever a decoder raises on damaged data into ImageError; `file` tells what it is where none knows it."""
    try:
        yield
    except (ImageError, MemoryError):  # there may be nothing wrong with an image that memory does not hold
        raise
    except UnidentifiedImageError as error:
        if file is not None and (samples := tiff.samples_of(file)):
            raise ImageError(
                f"{name}: a TIFF of {samples} in a form that is not read; save it with 8 or 16-bit integers"
            ) from error
        raise ImageError(f"{name}: {why_no_image(name, _head(file), FORMATS)}") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: {error}; at most {MAX_PIXELS} pixels are read; scale it down") from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ...
        raise ImageError(f"{name}: damaged image: {error}") from error


def _head(file: BinaryIO | None) -> bytes:
    if file is None:
        return b""
    file.seek(0)
    return file.read(HEAD_BYTES)


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
        image = Image.open(file, formats=formats)
    if image.format in NO_DECODER:
        raise UnidentifiedImageError(f"{image.format} is not decoded")
    return image
