"""The tables of kernels/README.md are those of the stored results."""

import json
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_table_shows_the_stored_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    bench = import_module("bench_deformable_attention")
    content = json.loads((ROOT / "benchmarks" / "results" / "deformable_attention.json").read_text())
    assert bench.markdown(content) in (ROOT / "kernels" / "README.md").read_text()
