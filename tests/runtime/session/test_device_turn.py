"""Who works when: one at a time, others while somebody waits, and nobody when it closes."""

from threading import Event, Thread

import pytest

from hyperseg_runtime.calls.waiting import waiting
from hyperseg_runtime.session.device_turn import DeviceTurn

LONG_S, SHORT_S = 30, 0.05


def started(work: object) -> Thread:
    thread = Thread(target=work, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


def test_another_works_while_one_waits_and_not_before() -> None:
    turn, in_turn, go_wait, go_on, other = DeviceTurn(), Event(), Event(), Event(), Event()

    def first() -> None:
        with turn.held():
            in_turn.set()
            assert go_wait.wait(LONG_S)
            with waiting():
                assert go_on.wait(LONG_S)
            order.append("first")

    def second() -> None:
        with turn.held():
            order.append("second")
            other.set()

    order: list[str] = []
    one = started(first)
    assert in_turn.wait(LONG_S)
    two = started(second)
    assert not other.wait(SHORT_S)  # the first works
    go_wait.set()
    assert other.wait(LONG_S)
    go_on.set()
    for thread in (one, two):
        thread.join(LONG_S)
    assert order == ["second", "first"]


def test_the_last_comes_when_nobody_waits_any_more() -> None:
    turn, waits, go_on, closed = DeviceTurn(), Event(), Event(), Event()

    def request() -> None:
        with turn.held(), waiting():
            waits.set()
            assert go_on.wait(LONG_S)

    def close() -> None:
        with turn.held_by_the_last():
            closed.set()

    threads = [started(request)]
    assert waits.wait(LONG_S)
    threads.append(started(close))
    assert not closed.wait(SHORT_S)
    go_on.set()
    for thread in threads:
        thread.join(LONG_S)
    assert closed.is_set()


def test_a_wait_that_fails_gives_the_turn_back() -> None:
    turn = DeviceTurn()
    with pytest.raises(ValueError, match="lost"), turn.held(), waiting():
        raise ValueError("lost")
    with turn.held_by_the_last():
        pass


def test_outside_of_a_turn_waiting_is_waiting() -> None:
    with waiting():
        pass
