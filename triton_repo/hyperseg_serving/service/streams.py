"""Video sessions of many streams: bounded in number, forgotten when idle."""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from hyperseg_runtime.session.video_session import VideoSession
from hyperseg_serving.contract import Options, StreamStep
from hyperseg_serving.refusals import Reason, RefusalError

ID_BYTES = 16
UNDER_WAY_S = 5.0
"""A video whose last frame is younger makes room for no other."""


def step_of(options: Options, start: bool, end: bool) -> StreamStep:
    """What a frame of one of the server's sequences is. Which stream it belongs to says its own `stream` alone: the
    sequence's id is the caller's choice, and somebody else may choose the same.
    """
    if not start and options.stream is None:
        raise RefusalError(
            Reason.STREAM_UNKNOWN,
            "a frame that does not start a video names it: give the `stream` of the response to the first frame in "
            "OPTIONS, or set the START flag",
        )
    return StreamStep(id=None if start else options.stream, start=start, end=end)


@dataclass
class _Stream:
    video: VideoSession
    used_s: float
    busy: threading.Lock = field(default_factory=threading.Lock)


class Streams:
    """At most `capacity` sessions; the least recently used makes room for a new one, unless it is under way: whoever
    starts many ends nobody else's. Any is forgotten after `idle_s` seconds.

    A stream's id is given by us when it starts and cannot be guessed: nobody else's frames get into it. The server
    tells a model when a sequence starts and ends, but not when it expires.
    """

    def __init__(
        self,
        open_video: Callable[[], VideoSession],
        capacity: int,
        idle_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_video = open_video
        self._capacity = capacity
        self._idle_s = idle_s
        self._clock = clock
        self._streams: OrderedDict[str, _Stream] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._streams)

    @contextmanager
    def session(self, step: StreamStep) -> Iterator[tuple[str, VideoSession]]:
        """The stream's id and session for one frame, alone with it. After `end` it is forgotten, and after a start that
        fails: nobody learns its id.

        Raises RefusalError for a stream that is not known, or not any more, and for a start where all are under way.
        """
        name, stream = self._enter(step)
        is_over = step.start or step.end
        try:
            with stream.busy:
                yield name, stream.video
            is_over = step.end
        finally:
            self._leave(name, stream, is_over)

    def _enter(self, step: StreamStep) -> tuple[str, _Stream]:
        with self._lock:
            self._forget_idle()
            if step.id is None:
                name, stream = secrets.token_urlsafe(ID_BYTES), _Stream(self._open_video(), self._clock())
                if not step.end:  # else there is nothing to remember, and nobody has to make room
                    self._make_room()
                    self._streams[name] = stream
                return name, stream
            if step.id not in self._streams:
                raise RefusalError(
                    Reason.STREAM_UNKNOWN,
                    f"no stream of this id: it never started, was idle for {self._idle_s:g} s, or made room for one "
                    f"of {self._capacity} others; send the frame again with the start flag",
                )
            self._streams.move_to_end(step.id)
            return step.id, self._streams[step.id]

    def _leave(self, name: str, stream: _Stream, is_over: bool) -> None:
        with self._lock:
            stream.used_s = self._clock()
            if is_over and self._streams.get(name) is stream:
                del self._streams[name]

    def _make_room(self) -> None:
        while len(self._streams) >= self._capacity:
            name, oldest = next(iter(self._streams.items()))
            if oldest.used_s > self._clock() - UNDER_WAY_S:
                raise RefusalError(Reason.BUSY, f"{self._capacity} videos are under way; try again later")
            del self._streams[name]

    def _forget_idle(self) -> None:
        oldest_s = self._clock() - self._idle_s
        for name in [name for name, stream in self._streams.items() if stream.used_s < oldest_s]:
            del self._streams[name]
