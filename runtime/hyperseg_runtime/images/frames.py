"""The frames of a video in order: a folder of images, an animated image, or a video file that OpenCV can read.

Nothing is left out without a word: what is no frame, and what should be one and cannot be read, is listed with its
reason.
"""

import math
import os
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from hyperseg_runtime.errors import ImageError
from hyperseg_runtime.files.naming import named_in_utf8
from hyperseg_runtime.files.results import input_source, refuse_own_result, result_of
from hyperseg_runtime.files.unreadable import MISSING, why_no_folder, why_unreadable
from hyperseg_runtime.images.formats import HEAD_BYTES, format_of
from hyperseg_runtime.images.reading import has_pages, load_image, read_header, read_page

IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .apng .webp .bmp .tif .tiff .gif .jp2 .avif .heic .heif .jxl .ppm .pgm .tga".split()
)
"""Only say what a file that no decoder knows was meant to be."""
EXACT = (b"RIFF", b"ftyp")
"""Of AVI and MP4, at the start and after four bytes: their headers count frames. Others' counts are guessed from the
duration, and come out a little too large where the sound is longer."""
GUESS_SLACK = 0.02
GIF_END, PADDING_BYTES = b";", 4096
"""GIF89a, section 27: its trailer. A GIF counts its frames nowhere."""
LAST_TRIES = 32
"""Reads that may fail one after another before a video of unknown length is over."""
FASTEST_HZ = 1000
"""Headers of some files state their time base in place of a rate of frames."""
OPENCV_LOG, OPENCV_QUIET = "OPENCV_FFMPEG_LOGLEVEL", "-8"


class Frame(NamedTuple):
    """`name`: the image file's, or in a video file the frame's number from 1 on in six digits.
    `source`: what tells it from every other frame (see `files.results`)."""

    name: str
    pixels_hwc_u8: np.ndarray
    source: str


class LeftOut(NamedTuple):
    """`lost`: it should have been a frame."""

    name: str
    reason: str
    lost: bool


@dataclass
class Frames(ABC):
    """Iterate once, for one frame after another. `left_out` is complete when the iteration is over."""

    path: Path
    count: int | None
    """Frames to expect, where that is known."""
    names: tuple[tuple[str, str], ...] = ()
    """Source and name of each frame, where they are known before."""
    left_out: list[LeftOut] = field(default_factory=list)
    rate_hz: float | None = None
    """Frames a second, where the file says so."""
    lost_first: LeftOut | None = None
    """What should have been the first frame and could not be read; known as soon as there is a frame."""

    @property
    def source(self) -> str:
        return input_source(self.path)

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]: ...

    def from_the_first(self) -> Iterator[Frame]:
        """The same where regions of the first frame are asked for. Raises ImageError if that one cannot be read."""
        for frame in self:
            if lost := self.lost_first:
                raise ImageError(
                    f"{self.path}: regions are of the first frame, {lost.name}, which could not be read "
                    f"({lost.reason}); repair it, or take it away and give regions of {frame.name}"
                )
            yield frame

    def _lose_frame(self, row: LeftOut, is_first: bool) -> None:
        self.left_out.append(row)
        if is_first and self.lost_first is None:
            self.lost_first = row


def open_frames(path: Path) -> Frames:
    """The frames of a folder or a video file. Raises ImageError where there is none, InputError for an own result."""
    if os.path.isdir(path):  # noqa: PTH112  (Path.is_dir raises for some of the names that are none)
        return _Folder.open(path)
    if reason := why_unreadable(path):
        raise ImageError(f"{path}: {'no such file or folder' if reason == MISSING else reason}")
    refuse_own_result(path)
    return _Animation.open(path) or _File.open(path)


def told(left_out: Sequence[LeftOut], what: str = "frame") -> str:
    """One sentence: what was lost first, each kind with its first names; the others are no `what`."""
    parts = []
    for lost, verdict in ((True, "could not be read"), (False, f"is no {what}")):
        rows = [row for row in left_out if row.lost is lost]
        shown = ", ".join(f"{row.name} ({row.reason})" for row in rows[:5])
        more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
        if rows:
            parts.append(f"{verdict}: {shown}{more}")
    return "; ".join(parts)


class _Folder(Frames):
    """Every image that `load_image` reads, whatever its name ends in; by name, numbers in names as numbers."""

    @classmethod
    def open(cls, path: Path) -> "_Folder":
        if reason := why_no_folder(path):
            raise ImageError(f"{path}: {reason}")
        entries = sorted(path.iterdir(), key=_natural)
        own = {entry for entry in entries if entry.is_file() and result_of(entry)}
        verdicts = [(entry, why_no_frame(entry)) for entry in entries if entry not in own]
        left_out = [verdict for _, verdict in verdicts if verdict is not None]
        if own:
            left_out.append(LeftOut(f"{len(own)} files", "results of this program", False))
        names = tuple((input_source(entry), entry.name) for entry, verdict in verdicts if verdict is None)
        if not names:
            raise ImageError(f"{path}: no image in it" + (f": {told(left_out)}" if left_out else ""))
        first = next(verdict for _, verdict in verdicts if verdict is None or verdict.lost)
        return cls(path, len(names), names, left_out, lost_first=first)

    def __iter__(self) -> Iterator[Frame]:
        any_read = False
        for source, name in self.names:
            file = self.path / name
            try:
                pixels = load_image(file)
            except ImageError as error:
                self._lose_frame(LeftOut(name, str(error).removeprefix(f"{file}: "), True), not any_read)
                continue
            any_read = True
            yield Frame(name, pixels, source)
        if not any_read:
            raise ImageError(f"{self.path}: {told(self.left_out)}")


def why_no_frame(path: Path) -> LeftOut | None:
    """None for a file that a decoder knows, and for one that its first bytes or its name call an image."""
    meant = path.suffix.lower() in IMAGE_SUFFIXES
    if path.name.startswith("."):
        return LeftOut(path.name, "hidden", False)
    if reason := why_unreadable(path):
        return LeftOut(path.name, reason, meant and not path.is_dir())
    with path.open("rb") as file:
        try:
            read_header(file).close()
        except MemoryError:
            raise
        except Exception:  # of many types; `load_image` says which
            file.seek(0)
            known = format_of(file.read(HEAD_BYTES))
            meant = known.is_image if known else meant
            return None if meant else LeftOut(path.name, known.title if known else "no image", False)
    return None


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """frame9 before frame10."""
    parts = re.split(r"(\d+)", path.stem)
    return [(int(part) if part.isdecimal() else -1, part) for part in parts], path.name


class _Animation(Frames):
    """GIF, PNG, WebP, AVIF, the pages of a TIFF: what OpenCV reads one frame of, or none. Frames are counted as in a
    video file."""

    @classmethod
    def open(cls, path: Path) -> "_Animation | None":
        """None for what Pillow does not know: OpenCV may. Raises ImageError for a single image: OpenCV takes one of a
        numbered series for the whole series."""
        with path.open("rb") as file:
            try:
                image = read_header(file)
            except MemoryError:
                raise
            except Exception:  # of many types
                return None
            with image:
                try:
                    count = int(image.n_frames) - _stills(image) if has_pages(image) else 0  # type: ignore[attr-defined]
                except MemoryError:
                    raise
                except Exception:  # the file ends, or is damaged, somewhere behind the first of them
                    return cls(path, None)
        if not count:
            raise ImageError(f"{path}: is an image; use the verb run, or name the folder of the frames")
        return cls(path, count)

    def __iter__(self) -> Iterator[Frame]:
        any_read = False
        with self.path.open("rb") as file, read_header(file) as image:
            for number in range(1, sys.maxsize if self.count is None else self.count + 1):
                name, called = f"{number:06}", f"{self.path}, frame {number}"
                try:
                    pixels = read_page(image, number - 1 + _stills(image), called)
                except ImageError as error:
                    more = ".." if self.count is None else ""
                    self._lose_frame(LeftOut(name + more, str(error).removeprefix(f"{called}: "), True), not any_read)
                    if self.count is None:
                        break
                    continue
                any_read = True
                yield Frame(name, pixels, f"{self.source}#{number}")
            if self.count is not None and image.format == "GIF" and not _ends(file, GIF_END):
                self.left_out.append(LeftOut(f"{self.count + 1:06}..", "the file ends before its end mark", True))
        if not any_read:
            raise ImageError(f"{self.path}: {told(self.left_out)}")


def _ends(file: BinaryIO, mark: bytes) -> bool:
    """Whether the last byte, but for padding with zeros, is `mark`."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - PADDING_BYTES))
    return file.read().rstrip(b"\0").endswith(mark)


def _stills(image: Image.Image) -> int:
    """A PNG may begin with an image for those who cannot show its animation (PNG 3rd edition, section 4.9)."""
    return int(getattr(image, "default_image", False))


class _File(Frames):
    """Frames keep their number in the video, also after one that is damaged."""

    @classmethod
    def open(cls, path: Path) -> "_File":
        import cv2

        with _opened(path) as capture:
            count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            rate_hz = capture.get(cv2.CAP_PROP_FPS)
        stated = rate_hz if math.isfinite(rate_hz) and 0 < rate_hz <= FASTEST_HZ else None
        return cls(path, count if count > 0 else None, rate_hz=stated)

    def __iter__(self) -> Iterator[Frame]:
        """A read that fails is a damaged frame if another one follows."""
        number = failed = read = 0
        with _opened(self.path) as capture:
            while failed < max(LAST_TRIES, (self.count or 0) - number):
                good, pixels = capture.read()
                if not good:
                    failed += 1
                    continue
                self._lose(number + 1, number + failed, "damaged")
                number, failed, read = number + failed + 1, 0, read + 1
                rgb = np.ascontiguousarray(pixels[:, :, ::-1])  # OpenCV gives BGR
                yield Frame(f"{number:06}", rgb, f"{self.source}#{number}")
        if not read:
            raise ImageError(f"{self.path}: no frame in it could be read; a folder of images works as well")
        slack = 0 if self._counts_exactly() else max(2, GUESS_SLACK * number)
        if self.count is not None and self.count - number > slack:
            self._lose(number + 1, self.count, f"its header promises {self.count} frames")

    def _lose(self, first: int, last: int, reason: str) -> None:
        if first <= last:
            name = f"{first:06}" if first == last else f"{first:06}..{last:06}"
            self._lose_frame(LeftOut(name, reason, True), first == 1)

    def _counts_exactly(self) -> bool:
        with self.path.open("rb") as file:
            head = file.read(8)
        return head.startswith(EXACT[0]) or head.endswith(EXACT[1])


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """OpenCV's capture of a video file. What FFmpeg would print about damage is told in `left_out`."""
    import cv2

    os.environ.setdefault(OPENCV_LOG, OPENCV_QUIET)
    with named_in_utf8(path) as name:
        capture = cv2.VideoCapture(name)
        try:
            if not capture.isOpened():
                raise ImageError(f"{path}: OpenCV cannot read it as a video; a folder of images works as well")
            yield capture
        finally:
            capture.release()
