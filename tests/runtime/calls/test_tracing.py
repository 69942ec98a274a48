"""A timeline of stages and device calls."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import pytest

from hyperseg_runtime.calls.timing import span
from hyperseg_runtime.calls.tracing import Trace, event, traced
from hyperseg_runtime.errors import InputError, OutputError, ResourceError
from support import RunCli


def events(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_bytes())["traceEvents"]
    return found


def inside(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(other["ts"] <= one["ts"] and one["ts"] + one["dur"] <= other["ts"] + other["dur"])


def in_a_thread(work: Callable[[], None]) -> None:
    thread = Thread(target=work)
    thread.start()
    thread.join()


def test_events_nest_and_know_their_threads(tmp_path: Path) -> None:
    def other() -> None:
        with event("elsewhere"):
            pass

    with traced(tmp_path / "trace.json"), span("outer"):
        with event("inner"):
            pass
        in_a_thread(other)
    inner, elsewhere, outer = events(tmp_path / "trace.json")
    assert [one["name"] for one in (inner, elsewhere, outer)] == ["inner", "elsewhere", "outer"]
    assert (inner["cat"], outer["cat"]) == ("device", "stage")
    assert inside(inner, outer) and inside(elsewhere, outer)
    assert inner["tid"] == outer["tid"] != elsewhere["tid"]


def test_what_fails_is_written_too_and_the_next_trace_is_its_own(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), traced(tmp_path / "one.json"), span("broken"):
        raise RuntimeError
    with traced(tmp_path / "two.json"), pytest.raises(InputError, match="one at a time"), traced(tmp_path / "three"):
        pass
    assert [one["name"] for one in events(tmp_path / "one.json")] == ["broken"]
    assert events(tmp_path / "two.json") == [] and not (tmp_path / "three").exists()


def test_a_trace_replaces_nothing_but_a_trace(run_cli: RunCli, tiny_bundle: Path, coffee: Path, tmp_path: Path) -> None:
    """Known before the work, so that nothing is lost for it; `--overwrite` is for everything else."""
    photo, out = Path(shutil.copy(coffee, tmp_path)), tmp_path / "out"
    refused = run_cli("run", tiny_bundle, photo, "the cup", "--out", out, "--trace", photo)
    assert refused.code == 2 and "exists and is no unchanged result" in refused.err and "--overwrite" in refused.err
    assert photo.read_bytes() == coffee.read_bytes() and not out.exists()
    trace = tmp_path / "new" / "trace.json"
    for name in ("one", "two"):
        with traced(trace), span(name):
            pass
    assert [one["name"] for one in events(trace)] == ["two"]
    trace.write_text("mine")
    with pytest.raises(OutputError), traced(trace):
        raise AssertionError
    with traced(trace, overwrite=True), span("three"):
        pass
    assert [one["name"] for one in events(trace)] == ["three"]


def test_results_are_written_before_a_trace_that_fails(
    run_cli: RunCli, tiny_bundle: Path, coffee: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(trace: Trace) -> bytes:
        raise ResourceError("no room left")

    monkeypatch.setattr(Trace, "to_json", fails)
    out = tmp_path / "out"
    result = run_cli("run", tiny_bundle, coffee, "the cup", "--out", out, "--trace", tmp_path / "trace.json")
    assert result.code == ResourceError.exit_code and "no room left" in result.err
    assert (out / f"{coffee.name}.mask.png").is_file()


def test_ranges_of_nvtx_are_closed_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`push_range` and `pop_range` of nvtx 0.2 (nvtx.readthedocs.io/en/latest/reference.html)."""
    calls: list[str] = []
    nvtx: Any = ModuleType("nvtx")
    nvtx.push_range = calls.append
    nvtx.pop_range = lambda: calls.append("end")
    monkeypatch.setitem(sys.modules, "nvtx", nvtx)
    with traced(tmp_path / "trace.json"), span("a"), event("b"):
        pass
    assert calls == ["a", "b", "end", "end"]


def test_the_verb_writes_one(run_cli: RunCli, tiny_bundle: Path, coffee: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace.json"
    result = run_cli("run", tiny_bundle, coffee, "the cup", "--out", tmp_path, "--trace", trace)
    assert result.code == 0, result.err
    assert {"preprocess", "image_encoder", "llm", "mask_decoder", "best_mask"} <= {one["name"] for one in events(trace)}


def test_an_answer_and_frames_have_timelines(run_cli: RunCli, tiny_bundle: Path, coffee: Path, tmp_path: Path) -> None:
    answer, frames = tmp_path / "answer.json", tmp_path / "frames.json"
    assert run_cli("chat", tiny_bundle, "What?", "--max-tokens", 2, "--trace", answer).code == 0
    (tmp_path / "in").mkdir()
    shutil.copy(coffee, tmp_path / "in")
    asked = ("video", tiny_bundle, tmp_path / "in", "the cup", "--out", tmp_path / "out", "--trace", frames)
    assert run_cli(*asked).code == 0
    assert {"llm", "lm_head"} <= {one["name"] for one in events(answer)}
    assert {"fvp", "mask_decoder"} <= {one["name"] for one in events(frames)}
