"""The load generator counts what happened, and a fixed rate does not hide a slow server."""

import threading
import time

from load_generator import closed_loop, fixed_rate


def test_a_closed_loop_keeps_its_callers_busy_and_no_more() -> None:
    lock, inside, most, done = threading.Lock(), 0, 0, []

    def call(number: int) -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.01)
        with lock:
            inside -= 1
            done.append(number)

    found = closed_loop(call, callers=3, requests=12, warm_up=2)
    assert most == 3
    assert sorted(done) == sorted([0, 1, *range(12)])
    assert found.summary()["requests"] == 12 and found.summary()["p50_ms"] >= 10


def test_errors_are_counted_and_not_timed() -> None:
    def call(number: int) -> None:
        if number % 2:
            raise ValueError("odd")

    found = closed_loop(call, callers=2, requests=10, warm_up=0)
    assert len(found.samples_ms) == len(found.errors) == 5
    assert found.errors[0] == "ValueError: odd"


def test_at_a_fixed_rate_waiting_counts() -> None:
    """One caller at a time gets through: request 5 is due after 5 ms and done after 60."""
    lock = threading.Lock()

    def call(number: int) -> None:
        with lock:
            time.sleep(0.01)

    found = fixed_rate(call, per_second=1000, requests=6, warm_up=0)
    assert max(found.samples_ms) > 50


def test_one_request_alone_and_none_that_went_well() -> None:
    assert closed_loop(lambda number: None, callers=1, requests=1).summary()["requests"] == 1

    def fail(number: int) -> None:
        raise ValueError(number)

    found = closed_loop(fail, callers=2, requests=3).summary()
    assert (found["requests"], found["errors"], found["per_second"], found["p50_ms"]) == (0, 3, 0.0, None)
