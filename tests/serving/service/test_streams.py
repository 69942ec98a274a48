"""Streams are bounded, expire, and are told apart."""

from collections.abc import Iterator
from itertools import count
from typing import cast

import pytest

from hyperseg_runtime.session.video_session import VideoSession
from hyperseg_serving.contract import StreamStep
from hyperseg_serving.refusals import RefusalError
from hyperseg_serving.service.streams import Streams

numbers: Iterator[int] = count()


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def make(capacity: int = 2, clock: Clock | None = None) -> Streams:
    return Streams(lambda: cast(VideoSession, next(numbers)), capacity, idle_s=10, clock=clock or Clock())


def use(streams: Streams, name: str, start: bool = False, end: bool = False) -> VideoSession:
    with streams.session(StreamStep(id=name, start=start, end=end)) as video:
        return video


def test_a_stream_keeps_its_session_until_it_ends_or_starts_again() -> None:
    streams = make()
    first = use(streams, "a", start=True)
    assert use(streams, "a") is first
    again = use(streams, "a", start=True)
    assert again is not first
    assert use(streams, "a", end=True) is again
    with pytest.raises(RefusalError, match="start flag"):
        use(streams, "a")


def test_the_least_recently_used_makes_room() -> None:
    streams = make(capacity=2)
    for name in ("a", "b"):
        use(streams, name, start=True)
    use(streams, "a")
    use(streams, "c", start=True)
    assert len(streams) == 2
    use(streams, "a")
    with pytest.raises(RefusalError):
        use(streams, "b")


def test_a_video_of_one_frame_takes_no_place() -> None:
    streams = make(capacity=1)
    kept = use(streams, "a", start=True)
    assert use(streams, "b", start=True, end=True) is not kept
    assert use(streams, "a") is kept
    with pytest.raises(RefusalError):
        use(streams, "b")


def test_an_idle_stream_is_forgotten() -> None:
    clock = Clock()
    streams = make(clock=clock)
    use(streams, "a", start=True)
    clock.now_s = 9
    use(streams, "a")
    clock.now_s = 18
    use(streams, "a")
    clock.now_s = 29
    with pytest.raises(RefusalError):
        use(streams, "a")
    assert len(streams) == 0


def test_a_frame_that_fails_leaves_the_stream() -> None:
    streams = make()
    use(streams, "a", start=True)
    with pytest.raises(ValueError), streams.session(StreamStep(id="a")):
        raise ValueError
    use(streams, "a")
