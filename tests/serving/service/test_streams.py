"""Streams are bounded, expire, and are told apart."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from typing import cast

import pytest

from hyperseg_runtime.session.video_session import VideoSession
from hyperseg_serving.contract import Options, StreamStep
from hyperseg_serving.refusals import Reason, RefusalError
from hyperseg_serving.service.streams import UNDER_WAY_S, Streams, step_of

numbers: Iterator[int] = count()


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def make(capacity: int = 2, clock: Clock | None = None) -> Streams:
    return Streams(lambda: cast(VideoSession, next(numbers)), capacity, idle_s=10, clock=clock or Clock())


def start(streams: Streams, end: bool = False) -> tuple[str, VideoSession]:
    with streams.session(StreamStep(start=True, end=end)) as found:
        return found


def use(streams: Streams, name: str, end: bool = False) -> VideoSession:
    with streams.session(StreamStep(id=name, end=end)) as (same, video):
        assert same == name
        return video


def test_a_stream_keeps_its_session_until_it_ends() -> None:
    streams = make()
    name, first = start(streams)
    assert use(streams, name) is first
    other, again = start(streams)
    assert again is not first and other != name
    assert use(streams, name, end=True) is first
    with pytest.raises(RefusalError, match="start flag"):
        use(streams, name)


def test_nobody_gets_into_a_stream_whose_id_was_not_given_to_them() -> None:
    streams = make(capacity=40)
    names = {start(streams)[0] for _ in range(40)}
    assert len(names) == 40 and min(map(len, names)) >= 22  # 128 random bits
    for guess in ("a", "1", next(iter(names))[:-1]):
        with pytest.raises(RefusalError):
            use(streams, guess)


def test_a_frame_of_a_sequence_says_which_stream_it_belongs_to() -> None:
    """Whatever id the sequence has: it is the caller's choice."""
    assert step_of(Options(stream="other"), start=True, end=False) == StreamStep(start=True)
    assert step_of(Options(stream="mine"), start=False, end=True) == StreamStep(id="mine", end=True)
    with pytest.raises(RefusalError, match="START"):
        step_of(Options(), start=False, end=False)


def test_the_least_recently_used_makes_room() -> None:
    clock = Clock()
    streams = make(capacity=2, clock=clock)
    (a, _), (b, _) = start(streams), start(streams)
    clock.now_s = UNDER_WAY_S + 1
    use(streams, a)
    start(streams)
    assert len(streams) == 2
    use(streams, a)
    with pytest.raises(RefusalError):
        use(streams, b)


def test_whoever_starts_many_ends_nobody_elses() -> None:
    clock = Clock()
    streams = make(capacity=2, clock=clock)
    kept, _ = start(streams)
    for _ in range(20):
        clock.now_s += 0.5
        use(streams, kept)
        with suppress(RefusalError):
            start(streams)
    with pytest.raises(RefusalError, match="2 videos are under way") as refusal:
        start(streams)
    assert refusal.value.reason is Reason.BUSY
    use(streams, kept)


def test_a_video_of_one_frame_takes_no_place() -> None:
    streams = make(capacity=1)
    a, kept = start(streams)
    b, other = start(streams, end=True)
    assert other is not kept
    assert use(streams, a) is kept
    with pytest.raises(RefusalError):
        use(streams, b)


def test_an_idle_stream_is_forgotten() -> None:
    clock = Clock()
    streams = make(clock=clock)
    name, _ = start(streams)
    clock.now_s = 9
    use(streams, name)
    clock.now_s = 18
    use(streams, name)
    clock.now_s = 29
    with pytest.raises(RefusalError):
        use(streams, name)
    assert len(streams) == 0


def test_a_start_that_fails_leaves_nothing() -> None:
    """Nobody learns its id: it would count as under way, and keep others out."""
    streams = make(capacity=1)
    with pytest.raises(ValueError), streams.session(StreamStep(start=True)):
        raise ValueError
    assert len(streams) == 0
    start(streams)


def test_a_frame_that_fails_leaves_the_stream() -> None:
    streams = make()
    name, _ = start(streams)
    with pytest.raises(ValueError), streams.session(StreamStep(id=name)):
        raise ValueError
    use(streams, name)
