"""A run that is kept, and the tables that a README shows of it."""

import json
from pathlib import Path
from typing import Any

import pytest
import stored

from hyperseg_bench.latency.run_files import SUMMARY
from hyperseg_bench.latency.summary import summarise
from latency_lines import made_lines


def kept_run(folder: Path, rounds: int) -> dict[str, Any]:
    content = summarise(made_lines({"b onnxruntime": 10.0, "b torch": 20.0}, rounds))
    for label, backend in (("b onnxruntime", "onnxruntime"), ("b torch", "torch-eager")):
        content["run"]["subjects"][label]["backend"] = backend
    (folder / SUMMARY).write_text(json.dumps(content))
    stored.keep(folder, "tiny", "other work ran")
    kept: dict[str, Any] = json.loads((folder / "kept" / "tiny.json").read_text())
    return kept


@pytest.fixture(autouse=True)
def kept_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "FOLDER", tmp_path / "kept")


def test_a_kept_run_becomes_both_tables(tmp_path: Path) -> None:
    kept = kept_run(tmp_path, rounds=30)
    assert kept["note"] == "other work ran" and not kept.keys() & set(stored.LEFT_OUT)
    lines = stored.markdown("tiny").splitlines()
    assert lines[0] == "| request | onnxruntime ms | 95 % | torch-eager ms | 95 % | ratio | 95 % |"
    (whole, _, _, _, graph) = lines[2:]
    ours, theirs = (row for row in kept["rows"] if not row["part"])
    assert whole.split(" | ")[1] == f"{ours['median_ms']:.1f}" and whole.split(" | ")[3] == f"{theirs['median_ms']:.1f}"
    assert f"| {1 / theirs['against_first']['ratio']:.2f} |" in whole
    assert graph.startswith("| `encoder` | 0.20 | 2.00 |") and graph.endswith("| compute |")


def test_a_run_of_few_rounds_has_a_ratio_of_medians_and_no_intervals(tmp_path: Path) -> None:
    ours, theirs = (row for row in kept_run(tmp_path, rounds=3)["rows"] if not row["part"])
    whole = stored.markdown("tiny").splitlines()[2]
    assert whole.endswith(f"| {ours['median_ms'] / theirs['median_ms']:.2f} | not measured |")
