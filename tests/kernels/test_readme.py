"""The tables of kernels/README.md are those of the stored results."""

import json
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("subject", ["deformable_attention", "mask_readout"])
def test_the_tables_show_the_stored_results(subject: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = import_module(f"bench_{subject}")
    content = json.loads((ROOT / "benchmarks" / "results" / f"{subject}.json").read_text())
    assert bench.markdown(content) in (ROOT / "kernels" / "README.md").read_text()
