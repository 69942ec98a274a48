"""A run that is kept, and the tables that a README shows of it."""

import json
from pathlib import Path

import pytest
import stored

from hyperseg_bench.latency.run_files import SUMMARY
from hyperseg_bench.latency.summary import summarise
from latency_lines import made_lines


def test_a_kept_run_becomes_both_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "FOLDER", tmp_path / "kept")
    content = summarise(made_lines({"b onnxruntime": 10.0, "b torch": 20.0}))
    for label, backend in (("b onnxruntime", "onnxruntime"), ("b torch", "torch-eager")):
        content["run"]["subjects"][label]["backend"] = backend
    (tmp_path / SUMMARY).write_text(json.dumps(content))
    stored.keep(tmp_path, "tiny", "other work ran")
    kept = json.loads((tmp_path / "kept" / "tiny.json").read_text())
    assert kept["note"] == "other work ran" and not kept.keys() & set(stored.LEFT_OUT)
    lines = stored.markdown("tiny").splitlines()
    assert lines[0] == "| request | onnxruntime ms | 95 % | torch-eager ms | 95 % | ratio | 95 % |"
    (whole, _, _, _, graph) = lines[2:]
    ours, theirs = (row for row in kept["rows"] if not row["part"])
    assert whole.split(" | ")[1] == f"{ours['median_ms']:.1f}" and whole.split(" | ")[3] == f"{theirs['median_ms']:.1f}"
    assert f"| {1 / theirs['against_first']['ratio']:.2f} |" in whole
    assert graph.startswith("| `encoder` | 0.20 | 2.00 |") and graph.endswith("| compute |")
