from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from hyperseg_runtime.calls.timing import recorded, span


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the next looks at the clock will show."""
    shown: list[float] = []
    monkeypatch.setattr("time.perf_counter", lambda: shown.pop(0))
    return shown


def test_spans_are_milliseconds_in_order_of_appearance(clock: list[float]) -> None:
    clock += [1.0, 1.5, 2.0, 2.25]
    with recorded() as spans_ms:
        for name in ("read", "decode"):
            with span(name):
                pass
    assert list(spans_ms.items()) == [("read", 500.0), ("decode", 250.0)]


def test_a_span_that_comes_again_is_added(clock: list[float]) -> None:
    clock += [0.0, 1.0, 5.0, 5.5]
    with recorded() as spans_ms:
        for _ in range(2):
            with span("step"):
                pass
    assert spans_ms == {"step": 1500.0}


def test_a_span_that_fails_is_counted_too(clock: list[float]) -> None:
    clock += [0.0, 1.0]
    with recorded() as spans_ms, pytest.raises(RuntimeError), span("step"):
        raise RuntimeError
    assert spans_ms == {"step": 1000.0}


def test_without_a_recording_nothing_is_timed(clock: list[float]) -> None:
    with recorded() as spans_ms:
        pass
    with span("step"):
        pass  # a look at the clock would find it empty
    assert spans_ms == {} and clock == []


def test_a_recording_inside_another_stands_alone(clock: list[float]) -> None:
    clock += [0.0, 1.0, 2.0, 4.0]
    with recorded() as outer:
        with recorded() as inner, span("inner"):
            pass
        with span("outer"):
            pass
    assert (inner, outer) == ({"inner": 1000.0}, {"outer": 2000.0})


def test_threads_do_not_see_each_other() -> None:
    together = Barrier(2)

    def work(name: str) -> list[str]:
        with recorded() as spans_ms:
            together.wait(timeout=30)
            with span(name):
                together.wait(timeout=30)
        return list(spans_ms)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, "ab")) == [["a"], ["b"]]
