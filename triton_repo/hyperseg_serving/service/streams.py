"""Video sessions of many streams: bounded in number, forgotten when idle."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from hyperseg_runtime.session.video_session import VideoSession
from hyperseg_serving.contract import StreamStep
from hyperseg_serving.refusals import Reason, RefusalError


@dataclass
class _Stream:
    video: VideoSession
    used_s: float
    busy: threading.Lock = field(default_factory=threading.Lock)


class Streams:
    """At most `capacity` sessions; the least recently used goes first, and any after `idle_s` seconds.

    The server tells a model when a sequence starts and ends, but not when it expires.
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
    def session(self, step: StreamStep) -> Iterator[VideoSession]:
        """The session of one frame, alone with it. `start` begins anew, after `end` it is forgotten.

        Raises RefusalError for a stream that is not known, or not any more.
        """
        stream = self._enter(step)
        try:
            with stream.busy:
                yield stream.video
        finally:
            self._leave(step, stream)

    def _enter(self, step: StreamStep) -> _Stream:
        with self._lock:
            self._forget_idle()
            if step.start and step.end:  # nothing to remember, so nobody has to make room
                self._streams.pop(step.id, None)
                return _Stream(self._open_video(), self._clock())
            if step.start:
                self._streams.pop(step.id, None)
                while len(self._streams) >= self._capacity:
                    self._streams.popitem(last=False)
                self._streams[step.id] = _Stream(self._open_video(), self._clock())
            if step.id not in self._streams:
                raise RefusalError(
                    Reason.STREAM_UNKNOWN,
                    f"no stream of this id: it never started, was idle for {self._idle_s:g} s, or made room for one "
                    f"of {self._capacity} others; send the frame again with the start flag",
                )
            self._streams.move_to_end(step.id)
            return self._streams[step.id]

    def _leave(self, step: StreamStep, stream: _Stream) -> None:
        with self._lock:
            stream.used_s = self._clock()
            if step.end and self._streams.get(step.id) is stream:
                del self._streams[step.id]

    def _forget_idle(self) -> None:
        oldest_s = self._clock() - self._idle_s
        for name in [name for name, stream in self._streams.items() if stream.used_s < oldest_s]:
            del self._streams[name]
