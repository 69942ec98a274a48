"""video.json, written as the frames are done: whatever happens later, what is done is in it."""

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from io import FileIO
from types import TracebackType
from typing import Any, Self

from hyperseg_runtime.console import json_bytes
from hyperseg_runtime.errors import HypersegError
from hyperseg_runtime.files.results import ResultFolder, json_end, seal
from hyperseg_runtime.files.writing import explained

VIDEO_RECORD = "video.json"
START = b'{\n "frames": ['


class VideoRecord:
    """A JSON object with the `frames` so far; a whole one, and sealed as a result, after every call.

    It appears with the first frame, and is changed in place: writing hours of video anew for every frame would take
    longer than the video. Only a power cut in the middle of a write leaves less than an object.
    """

    def __init__(self, folder: ResultFolder, source: str) -> None:
        """Raises OutputError where `folder` has another file of this name."""
        folder.require_free([VIDEO_RECORD], source)
        self._folder = folder
        self._path = folder.directory / VIDEO_RECORD
        self._source = source
        self._file: FileIO | None = None
        self._digest = hashlib.sha256(START)
        self._end = len(START)
        self._frames = 0
        self._tail = self._rest({"complete": False})

    def add(self, frame: Mapping[str, Any]) -> None:
        """One more frame. Raises ResourceError where the disk is full; the frames before stay."""
        row = (b"," if self._frames else b"") + b"\n" + json_bytes(dict(frame)).rstrip()
        before = self._digest.copy()
        self._digest.update(row)
        tail = self._rest({"complete": False})
        try:
            self._put(row + tail)
        except BaseException:
            self._digest = before
            with suppress(HypersegError):
                self._put(self._tail)
            raise
        self._tail = tail
        self._end += len(row)
        self._frames += 1

    def finish(self, **members: Any) -> None:
        """The last words: further members of the object."""
        self._put(self._rest({**members, "complete": True}))

    def _rest(self, members: Mapping[str, Any]) -> bytes:
        """From after the last frame to the end of the file."""
        closing = b"\n ]," + json_bytes(dict(members)).removeprefix(b"{").removesuffix(b"\n}\n")
        before = self._digest.copy()
        before.update(closing)
        return closing + json_end(seal(before, self._source))

    def _put(self, data: bytes) -> None:
        """Without a buffer: what a full disk refuses once is not tried again when the file is closed."""
        with explained(self._path):
            file = self._file or self._opened()
            file.seek(self._end)
            left = memoryview(data)
            while left:
                left = left[file.write(left) :]
            file.truncate()

    def _opened(self) -> FileIO:
        self._folder.write(VIDEO_RECORD, START + b"]\n}\n", self._source)
        self._file = FileIO(self._path, "r+b")
        return self._file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            with suppress(OSError):
                os.fsync(self._file.fileno())
            self._file.close()
