import pytest

from hyperseg_runtime.timing import Stopwatch


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the next looks at the clock will show."""
    shown: list[float] = []
    monkeypatch.setattr("time.perf_counter", lambda: shown.pop(0))
    return shown


def test_spans_are_milliseconds_in_order_of_appearance(clock: list[float]) -> None:
    clock += [1.0, 1.5, 2.0, 2.25]
    stopwatch = Stopwatch()
    for name in ("read", "decode"):
        with stopwatch.span(name):
            pass
    assert list(stopwatch.spans_ms.items()) == [("read", 500.0), ("decode", 250.0)]


def test_a_span_that_comes_again_is_added(clock: list[float]) -> None:
    clock += [0.0, 1.0, 5.0, 5.5]
    stopwatch = Stopwatch()
    for _ in range(2):
        with stopwatch.span("step"):
            pass
    assert stopwatch.spans_ms == {"step": 1500.0}


def test_a_span_that_fails_is_counted_too(clock: list[float]) -> None:
    clock += [0.0, 1.0]
    stopwatch = Stopwatch()
    with pytest.raises(RuntimeError), stopwatch.span("step"):
        raise RuntimeError
    assert stopwatch.spans_ms == {"step": 1000.0}
