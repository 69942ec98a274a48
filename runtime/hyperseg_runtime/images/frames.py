"""The frames of a video in order: a folder of images, or a file that OpenCV can read."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from hyperseg_runtime.errors import ImageError
from hyperseg_runtime.images.reading import load_image

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Frame:
    name: str
    """Of the image file without its ending, or the frame's number from 1 on in six digits."""
    pixels_hwc_u8: np.ndarray


def frame_count(source: Path) -> int | None:
    """Frames to expect: exact for a folder, None where a video file does not say. Raises ImageError."""
    if source.is_dir():
        return len(_image_files(source))
    import cv2

    with _opened(source) as capture:
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    return count if count > 0 else None


def read_frames(source: Path) -> Iterator[Frame]:
    """RGB frames, one in memory at a time; images of a folder by name, numbers in names as numbers.

    Raises ImageError where there is none, or for one that cannot be read.
    """
    if source.is_dir():
        for path in _image_files(source):
            yield Frame(path.stem, load_image(path))
        return
    with _opened(source) as capture:
        number = 0
        while (read := capture.read())[0]:
            number += 1
            yield Frame(f"{number:06}", np.ascontiguousarray(read[1][:, :, ::-1]))  # OpenCV gives BGR
    if not number:
        raise ImageError(f"{source}: no frame in it could be read; a folder of images works as well")


def _image_files(folder: Path) -> list[Path]:
    found = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    if not found:
        raise ImageError(f"{folder}: no image in it; frames are files ending in {', '.join(IMAGE_SUFFIXES)}")
    found.sort(key=_natural)
    for path, after in pairwise(found):
        if path.stem == after.stem:
            raise ImageError(f"{folder}: {path.name} and {after.name} are one frame's name twice; keep one of them")
    return found


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """frame9 before frame10."""
    parts = re.split(r"(\d+)", path.stem)
    return [(int(part) if part.isdecimal() else -1, part) for part in parts], path.name


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """OpenCV's capture of a video file."""
    import cv2

    if not path.is_file():
        raise ImageError(f"{path}: no such file or folder")
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise ImageError(f"{path}: OpenCV cannot read it as a video; a folder of images works as well")
        yield capture
    finally:
        capture.release()
