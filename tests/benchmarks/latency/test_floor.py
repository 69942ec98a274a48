"""Floors: the longer of compute and memory, by the peaks of each type; unknown where a peak is."""

import pytest

from hyperseg_bench.latency.cost import COSTS, Cost, Floor, Peaks, cost_counter
from hyperseg_bench.latency.peaks import best_of
from hyperseg_runtime.errors import EnvironmentMissingError

PEAKS = Peaks({"float32": 1e12, "int8": 4e12}, 1e11)


def test_the_longer_of_both_bounds() -> None:
    compute, memory = Cost({"float32": 10**10}, 10**6), Cost({"int8": 10**6}, 10**9)
    assert PEAKS.floor([compute]) == Floor(10.0, "compute")
    assert PEAKS.floor([memory]) == Floor(10.0, "memory")
    both = PEAKS.floor([compute, memory])  # one after another: neither hides behind the other
    assert isinstance(both, Floor) and both.ms == pytest.approx(20.0)
    assert compute + memory == Cost({"float32": 10**10, "int8": 10**6}, 10**9 + 10**6)


def test_the_best_of_two_probes_counts() -> None:
    disturbed = {"host": Peaks({"float32": 5e11, "bfloat16": 1e12}, 2e11)}
    assert best_of({"host": PEAKS}, disturbed) == {
        "host": Peaks({"float32": 1e12, "int8": 4e12, "bfloat16": 1e12}, 2e11)
    }
    assert best_of({}, disturbed) == best_of(disturbed, {}) == disturbed


def test_a_type_without_a_peak_has_no_floor() -> None:
    assert PEAKS.floor([Cost({"float16": 1}, 1)]) == "the peak for float16 was not measured"


def test_without_a_counter_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hyperseg_bench.latency.cost.entry_points", lambda group: {COSTS: []}[group])
    with pytest.raises(EnvironmentMissingError, match="hyperseg-trt\\[export\\]"):
        cost_counter()
