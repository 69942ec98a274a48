"""What TIFF says of its samples and Pillow does not pass on (TIFF 6.0, sections 8 and 19)."""

import warnings
from typing import BinaryIO

from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

BITS, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339
WHITE_IS_ZERO = 0
SIGNED = 2
TYPES = {
    1: "integers",
    SIGNED: "signed integers",
    3: "floating-point numbers",
    5: "complex integers",
    6: "complex numbers",
}
HEAD_BYTES = 8


def numbers(image: Image.Image, tag: int) -> tuple[int, ...]:
    """What stands under `tag`; nothing for images that are no TIFF."""
    return _numbers(image.tag_v2, tag) if isinstance(image, TiffImageFile) else ()


def samples_of(file: BinaryIO) -> str | None:
    """Such as "64-bit floating-point numbers", also where Pillow cannot open the file; None for what is no TIFF."""
    try:
        file.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            directory = ImageFileDirectory_v2(file.read(HEAD_BYTES))
            file.seek(directory.next)
            directory.load(file)
            bits, kind = _numbers(directory, BITS), _numbers(directory, SAMPLE_FORMAT) or (1,)
    except MemoryError:
        raise
    except Exception:  # whatever damage does to a directory
        return None
    return f"{bits[0]}-bit {TYPES[kind[0]]}" if bits and kind[0] in TYPES else None


def _numbers(directory: ImageFileDirectory_v2, tag: int) -> tuple[int, ...]:
    found = directory.get(tag, ())
    return tuple(value for value in (found if isinstance(found, tuple) else (found,)) if isinstance(value, int))
