"""Rows, shares of floors, and what to be wary of, from samples that are made."""

import pytest

from hyperseg_bench.latency.lines import Absent, Device, Memory, Probed, Sample
from hyperseg_bench.latency.summary import summarise
from latency_lines import made_lines

SLOW, FAST = "b torch", "b onnxruntime"


def test_rows_compare_with_the_first_subject() -> None:
    content = summarise(made_lines({FAST: 10.0, SLOW: 20.0}))
    rows = {(row["subject"], row["part"]): row for row in content["rows"]}
    whole = rows[SLOW, ""]
    assert (
        whole["samples"] == 30 and 20 <= whole["p50_ms"]["low"] <= whole["median_ms"] <= whole["p50_ms"]["high"] <= 21
    )
    assert whole["per_second"] == pytest.approx(1000 / whole["median_ms"])
    assert whole["p99_ms"] is None and whole["p90_ms"] is not None and rows[FAST, ""]["against_first"] is None
    against = whole["against_first"]
    assert against["subject"] == FAST and against["low"] <= against["ratio"] <= against["high"]
    assert against["ratio"] == pytest.approx(2, rel=0.05)
    graph = rows[FAST, "encoder"]
    assert graph["of_floor"] == pytest.approx(2.0 / graph["median_ms"]) and graph["bound"] == "compute"
    assert content["disturbed"] == 0 and content["warnings"] == []


def test_beyond_the_floor_is_shown_as_it_is_and_marked() -> None:
    content = summarise(made_lines({FAST: 10.0}, floor_ms=9.0))
    (row,) = [row for row in content["rows"] if row["part"]]
    assert row["beyond_floor"] and row["of_floor"] > 1.6
    assert any(
        warning.startswith("error of measurement: b onnxruntime, first, encoder") for warning in content["warnings"]
    )


def test_disturbed_throttled_and_enqueue_bound_runs_are_told() -> None:
    lines = made_lines({FAST: 10.0}, count=20)
    lines += [Probed(scenario="first", round=20 + number, ms=9.0) for number in range(5)]
    lines.append(Device(scenario="first", facts={}, throttled=True))
    lines += [
        Sample(subject=FAST, scenario="first", metric="request", part="llm", round=n, ms=2.0, enqueue_ms=1.9)
        for n in range(6)
    ]
    content = summarise(lines)
    assert content["disturbed"] == pytest.approx(0.2)
    assert [warning.split(":")[0] for warning in content["warnings"]] == ["disturbed", "throttled", "enqueue-bound"]


def test_a_run_that_was_killed_has_the_rows_it_got_to() -> None:
    lines = made_lines({FAST: 10.0})
    content = summarise([*lines[:9], Absent(subject=SLOW, reason="it is not installed")])
    assert [row["samples"] for row in content["rows"]] == [3, 2] or content["rows"][0]["samples"] >= 2
    assert content["rows"][0]["p50_ms"] is None and content["absent"][0]["reason"] == "it is not installed"
    assert summarise(lines[:1])["rows"] == [] and summarise(lines[:1])["disturbed"] is None


def test_memory_is_passed_on() -> None:
    lines = [*made_lines({FAST: 10.0}), Memory(subject=FAST, host_bytes=5, peak_host_bytes=9)]
    assert summarise(lines)["memory"] == [
        {"subject": FAST, "host_bytes": 5, "peak_host_bytes": 9, "device_bytes": None}
    ]
