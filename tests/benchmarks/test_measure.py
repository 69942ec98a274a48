"""What is timed begins when nothing of the process runs any more."""

from threading import Event, Thread
from time import perf_counter

import pytest

from hyperseg_bench import measure


def spin(seconds: float, stopped: Event) -> None:
    """As a worker does that asks for more work."""
    end = perf_counter() + seconds
    while perf_counter() < end and not stopped.is_set():
        pass


def begun(seconds: float) -> tuple[Thread, Event]:
    stopped = Event()
    worker = Thread(target=spin, args=(seconds, stopped), daemon=True)
    worker.start()
    return worker, stopped


def test_a_worker_that_spins_on_is_waited_for() -> None:
    worker, _ = begun(0.1)
    measure.settle()
    assert not worker.is_alive()


def test_one_that_never_rests_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "PATIENCE_S", 0.05)
    worker, stopped = begun(60)
    measure.settle()
    assert worker.is_alive()
    stopped.set()


def test_no_rival_is_timed_beside_the_workers_of_another() -> None:
    workers: list[Thread] = []
    beside: list[bool] = []

    def leaves_a_worker() -> None:
        workers.append(begun(0.05)[0])

    def looks() -> None:
        beside.append(any(worker.is_alive() for worker in workers))

    measure.alternate([leaves_a_worker, looks], rounds=3, warm_up=0)
    assert beside == [False] * 3
