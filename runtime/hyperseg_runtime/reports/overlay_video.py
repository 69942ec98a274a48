"""Frames with what was found drawn on them, as one MP4 that browsers play."""

import secrets
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np
from PIL import Image, ImageOps

from hyperseg_runtime.errors import OutputError, ResourceError
from hyperseg_runtime.files.naming import named_in_utf8
from hyperseg_runtime.files.results import ResultFolder
from hyperseg_runtime.files.writing import explained

OVERLAY_VIDEO = "overlay.mp4"
CODEC = "vp09"
"""VP9 in MP4: browsers play it, and the OpenCV of PyPI has an encoder for it; that of H.264 has no free licence."""
RATE_HZ = 10.0
"""Frames a second, where the frames do not say: a folder of images."""


class OverlayVideo:
    """One video file, which appears when it is complete; frames of another size than the first are fitted into that."""

    def __init__(self, folder: ResultFolder, source: str, rate_hz: float | None) -> None:
        """Raises OutputError where `folder` has another file of this name."""
        folder.require_free([OVERLAY_VIDEO], source)
        self._folder = folder
        self._source = source
        self._rate_hz = rate_hz or RATE_HZ
        self._partial = folder.directory / f".{secrets.token_hex(8)}.partial.mp4"
        self._hw = (0, 0)
        self._frames = 0
        self._writer: Any = None
        self._named = ExitStack()

    def add(self, frame_hwc_u8: np.ndarray) -> None:
        """One more frame, (H, W, 3) uint8. Raises OutputError where no video can be written."""
        if self._writer is None:
            self._hw = frame_hwc_u8.shape[:2]
            size = self._hw[::-1]
            name = self._named.enter_context(named_in_utf8(self._partial))
            self._writer = cv2.VideoWriter(name, cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*CODEC), self._rate_hz, size)
            if not self._writer.isOpened():
                raise OutputError(
                    f"{self._partial.parent}: OpenCV cannot write a video here; leave --overlay-video out"
                )
        self._writer.write(np.ascontiguousarray(_fitted(frame_hwc_u8, self._hw)[:, :, ::-1]))  # OpenCV takes BGR
        self._frames += 1

    def finish(self) -> None:
        """All frames are in it. Raises ResourceError where the disk was too small for them."""
        if self._writer is None:
            return
        self._writer.release()
        if (there := _frames_in(self._partial)) < self._frames:
            raise ResourceError(f"{OVERLAY_VIDEO}: {there} of {self._frames} frames were written; is the disk full?")
        with explained(self._partial):
            self._folder.write(OVERLAY_VIDEO, self._partial.read_bytes(), self._source)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Without `finish` nothing stays."""
        if self._writer is not None:
            self._writer.release()
        self._named.close()
        self._partial.unlink(missing_ok=True)


def _fitted(frame_hwc_u8: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """Whole, in the middle of a frame of this size, on black."""
    if frame_hwc_u8.shape[:2] == hw:
        return frame_hwc_u8
    return np.asarray(ImageOps.pad(Image.fromarray(frame_hwc_u8), hw[::-1]))


def _frames_in(path: Path) -> int:
    with named_in_utf8(path) as name:
        capture = cv2.VideoCapture(name)
        try:
            return int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        finally:
            capture.release()
