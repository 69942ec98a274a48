"""The verb: a real bundle beside a rival, files that say the same, and what happens where something is missing."""

import json
import signal
import subprocess
import sys
from itertools import cycle
from pathlib import Path

import pytest

from latency_pages import require_equal_numbers
from support import RunCli

QUICK = ("--rounds", "6", "--warm-up", "1", "--threads", "1")


@pytest.fixture
def short_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peaks of a machine, without the seconds it takes to measure them: disturbed at the start, then not."""
    from hyperseg_bench.latency.cost import Peaks

    probes = cycle(({"host": Peaks({"float32": 2e10}, 1e10)}, {"host": Peaks({"float32": 5e10}, 1e10)}))
    monkeypatch.setattr("hyperseg_bench.latency.run.machine_peaks", lambda threads: next(probes))


@pytest.mark.slow
@pytest.mark.usefixtures("short_peaks")
def test_subjects_are_measured_side_by_side(
    run_cli: RunCli, tiny_bundle: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ("--scenario", "next", "--scenario", "chat", "--backend", "onnxruntime", "--backend", "tensorrt")
    arguments += ("--rival", "torch-eager", "--checkpoint", tiny_checkpoint)
    result = run_cli("bench", tiny_bundle, *arguments, *QUICK, "--out", out, "--json")
    assert result.code == 0, result.err
    content = json.loads(result.out)
    measured = {
        (row["subject"].split()[-1], row["scenario"], row["metric"]) for row in content["rows"] if not row["part"]
    }
    assert measured == {
        (who, *what)
        for who in ("onnxruntime", "torch-eager")
        for what in (("next", "request"), ("chat", "first token"), ("chat", "token"))
    }
    absent = {entry["subject"].split()[-1]: entry["reason"] for entry in content["absent"]}
    assert set(absent) == {"tensorrt"} and "pip install 'hyperseg-trt[trt]'" in absent["tensorrt"]
    parts = {row["part"] for row in content["rows"] if row["scenario"] == "next"}
    assert parts == {"", "host", "llm", "mask_decoder"}
    assert all(row["of_floor"] > 0 for row in content["rows"] if row["part"] not in ("", "host"))
    assert [peak["flops_per_s"] for peak in content["peaks"]] == [{"float32": 5e10}]
    bound = {row["bound"]: row["floor_ms"] / row["flops"]["float32"] for row in content["rows"] if row.get("bound")}
    assert bound["compute"] == pytest.approx(1000 / 5e10, rel=0.2)  # of the second probe
    assert [drawn["differing_px"] for drawn in content["drawn"]] == [None, 0]
    require_equal_numbers(json.loads((out / "summary.json").read_bytes()), (out / "report.html").read_text())
    again = run_cli("bench", "--compare", out, out, "--json")
    assert json.loads(again.out)["told"] == json.loads(again.out)["agreeing"] > 4


@pytest.mark.usefixtures("short_peaks")
def test_mistakes_say_what_to_do(run_cli: RunCli, tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "samples.jsonl").touch()
    for arguments, code, words in [
        ((), 2, "which BUNDLE?"),
        ((tiny_bundle, "--scenario", "second"), 2, "unknown scenario 'second'; choose first, next"),
        ((tiny_bundle, "--backend", "abacus"), 2, "unknown backend 'abacus'; choose onnxruntime"),
        ((tiny_bundle, "--rival", "abacus"), 2, "unknown rival 'abacus'; choose torch-compile, torch-eager"),
        ((tiny_bundle, tiny_bundle, *QUICK), 2, "two bundles are called"),
        ((tiny_bundle, "--out", tmp_path / "taken"), 2, "samples of another run are there"),
        ((tmp_path,), 6, "this is not a finished bundle"),
        (("--compare", tmp_path, tmp_path), 2, "no samples of a benchmark are there"),
        (("--summarise", tmp_path), 2, "no samples of a benchmark are there"),
    ]:
        result = run_cli("bench", *arguments)
        assert result.code == code and words in result.err, result.err


@pytest.mark.usefixtures("short_peaks")
def test_a_machine_without_the_backend_says_so_in_file_and_exit_code(
    run_cli: RunCli, tiny_bundle: Path, tmp_path: Path
) -> None:
    arguments = ("--backend", "tensorrt", "--rival", "torch-eager", "--scenario", "next")
    result = run_cli("bench", tiny_bundle, *arguments, *QUICK, "--out", tmp_path / "out")
    assert result.code == 3 and "nothing could be measured" in result.err and "hyperseg-trt[trt]" in result.err
    page = (tmp_path / "out" / "report.html").read_text()
    assert "not measured" in page and "name it with --checkpoint" in page


@pytest.mark.usefixtures("short_peaks")
def test_a_rival_whose_library_is_missing_is_a_row(
    run_cli: RunCli, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "hyperseg_export.rivals.torch_backend", None)
    arguments = ("--backend", "onnxruntime", "--rival", "torch-eager", "--checkpoint", tmp_path, "--scenario", "next")
    result = run_cli("bench", tiny_bundle, *arguments, *QUICK, "--out", tmp_path / "out", "--json")
    (absent,) = json.loads(result.out)["absent"]
    assert absent["subject"].endswith("torch-eager") and "is not installed; run: pip install" in absent["reason"]


@pytest.mark.slow
@pytest.mark.usefixtures("short_peaks", "tensorrt_double")
def test_graphs_of_a_device_are_timed_alone_and_requests_as_they_are(
    run_cli: RunCli, engine_bundle: Path, tmp_path: Path
) -> None:
    """On the double: a second request in which every graph is waited for, and no share of the host."""
    arguments = (
        "--backend",
        "tensorrt",
        "--rival",
        "torch-eager",
        "--scenario",
        "next",
        "--rounds",
        "2",
        "--warm-up",
        "0",
    )
    result = run_cli("bench", engine_bundle, *arguments, "--out", tmp_path / "out", "--json")
    assert result.code == 0, result.err
    content = json.loads(result.out)
    parts = {row["part"]: row for row in content["rows"]}
    assert set(parts) == {"", "llm", "mask_decoder", "mask_readout"} and content["run"]["rounds"] == 2
    assert 0 < parts["llm"]["enqueue_share"] <= 1 and parts[""]["enqueue_share"] is None
    assert parts["llm"]["floor_unknown"] == "no peak of this machine was measured"  # of the device there is none


def test_a_killed_run_keeps_its_samples(run_cli: RunCli, tiny_bundle: Path, tmp_path: Path) -> None:
    """Killed with SIGKILL in the middle; a summary and a page are made of what is there."""
    program = (
        "import sys; from hyperseg_bench.latency import run; run.machine_peaks = lambda threads: {};"
        "from hyperseg_runtime.cli.app import main; main()"
    )
    asked = ["bench", tiny_bundle, "--scenario", "next", "--backend", "onnxruntime", "--threads", "1"]
    command = [sys.executable, "-c", program, *map(str, asked), "--rounds", "100000", "--out", str(tmp_path / "out")]
    started = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    samples = tmp_path / "out" / "samples.jsonl"
    try:
        while not samples.is_file() or samples.read_bytes().count(b'"kind":"sample"') < 60:
            assert started.poll() is None
    finally:
        started.send_signal(signal.SIGKILL)
        started.wait()
    assert started.returncode == -signal.SIGKILL and not (tmp_path / "out" / "summary.json").exists()
    result = run_cli("bench", "--summarise", tmp_path / "out")
    assert result.code == 0, result.err
    content = json.loads((tmp_path / "out" / "summary.json").read_bytes())
    assert content["rows"][0]["samples"] >= 10 and (tmp_path / "out" / "report.html").stat().st_size > 1000
