"""A run of made subjects: what each request is asked, and what its energy is counted from."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hyperseg_bench import measure
from hyperseg_bench.latency.lines import Sample, of_kind, read_samples
from hyperseg_bench.latency.run import Experiment, run
from hyperseg_bench.latency.scenarios import REQUEST, Scenario
from hyperseg_bench.latency.subjects import Choice, Opened

WAIT_J, REQUEST_J = 100.0, 1.0


class CountingGpu:
    """A GPU whose counter of energy goes on while this process waits, and with each request."""

    def __init__(self) -> None:
        self.spent = 0.0

    def energy_j(self) -> float:
        return self.spent

    def used_bytes(self) -> int:
        return 0

    def facts(self) -> dict[str, str]:
        return {}

    def throttled(self) -> bool:
        return False


class Watch:
    """Of a backend whose calls overlap, so that a request is made again to time its graphs."""

    overlaps = on_device = True
    calls = ()

    def begin(self) -> None: ...

    def waiting(self) -> Any:
        return nullcontext()


class Made:
    """A subject that needs no bundle."""

    label, family = "made", SimpleNamespace(tasks=(), video_tasks=(), answers=lambda kind: False)

    def facts(self) -> dict[str, str]:
        return {}

    def open(self, choice: Choice) -> Opened:
        pipeline: Any = nullcontext(SimpleNamespace(family=self.family))
        pipeline.family = self.family
        return Opened(pipeline, Watch())  # type: ignore[arg-type]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> CountingGpu:
    made = CountingGpu()

    def settle() -> None:
        made.spent += WAIT_J

    monkeypatch.setattr("hyperseg_bench.latency.run.Gpu", SimpleNamespace(open=lambda: made))
    monkeypatch.setattr("hyperseg_bench.latency.run.machine_peaks", lambda threads: {})
    monkeypatch.setattr(measure, "settle", settle)
    return made


def asked_of(gpu: CountingGpu, path: Path, rounds: int, warm_up: int) -> list[int]:
    """The numbers of all requests of a run, one after another."""
    numbers: list[int] = []

    def ask(number: int) -> dict[str, float]:
        gpu.spent += REQUEST_J
        numbers.append(number)
        return {REQUEST: 1.0}

    @contextmanager
    def begin(*_: object) -> Iterator[Any]:
        yield ask

    class Always(Scenario):
        def lacking(self, family: object) -> str:
            return ""

    made: Any = Made()
    experiment = Experiment([made], [Always("made", "", "", begin)], Choice(), rounds, warm_up, [np.zeros((2, 2, 3))])
    run(experiment, path)
    return numbers


def test_no_request_is_made_twice(gpu: CountingGpu, tmp_path: Path) -> None:
    """Else what is waited for would find what the one before it left, and its graphs would have no row."""
    numbers = asked_of(gpu, tmp_path / "samples.jsonl", rounds=4, warm_up=2)
    assert len(numbers) == len(set(numbers)) == 1 + 2 * (2 + 4)


def test_the_wait_before_a_request_is_none_of_its_energy(gpu: CountingGpu, tmp_path: Path) -> None:
    asked_of(gpu, tmp_path / "samples.jsonl", rounds=2, warm_up=0)
    samples = of_kind(read_samples(tmp_path / "samples.jsonl"), Sample)
    assert [sample.energy_j for sample in samples if not sample.part] == [REQUEST_J, REQUEST_J]
