"""What is timed begins when nothing of the process runs any more."""

import pytest

from hyperseg_bench import measure


class Clocks:
    """A process with a worker that spins until `busy_until`; time passes where somebody sleeps."""

    def __init__(self) -> None:
        self.now = self.used = self.busy_until = 0.0

    def sleep(self, seconds: float) -> None:
        self.used += max(0.0, min(seconds, self.busy_until - self.now))
        self.now += seconds

    def perf_counter(self) -> float:
        return self.now

    def process_time(self) -> float:
        return self.used


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    made = Clocks()
    for name in ("sleep", "perf_counter", "process_time"):
        monkeypatch.setattr(measure, name, getattr(made, name))
    return made


def test_an_idle_process_is_looked_at_once(clocks: Clocks) -> None:
    measure.settle()
    assert clocks.now == measure.LOOK_S


@pytest.mark.parametrize("spinning_s", [0.012, 0.1])
def test_a_worker_that_spins_on_is_waited_for(clocks: Clocks, spinning_s: float) -> None:
    clocks.busy_until = spinning_s
    measure.settle()
    assert spinning_s <= clocks.now <= spinning_s + 2 * measure.LOOK_S


def test_one_that_never_rests_is_not_waited_for_for_ever(clocks: Clocks) -> None:
    clocks.busy_until = 1e9
    measure.settle()
    assert clocks.now == pytest.approx(measure.PATIENCE_S, abs=2 * measure.LOOK_S)


def test_no_rival_is_timed_beside_the_workers_of_another(clocks: Clocks) -> None:
    beside: list[bool] = []

    def leaves_a_worker() -> None:
        clocks.busy_until = clocks.now + 0.05

    def looks() -> None:
        beside.append(clocks.now < clocks.busy_until)

    measure.alternate([leaves_a_worker, looks], rounds=3, warm_up=0)
    assert beside == [False] * 3
