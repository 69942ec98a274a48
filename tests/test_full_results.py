"""The table of the long tests: a part that runs again replaces its rows, the others stay with their date."""

import json
import sys
from pathlib import Path

import pytest

import full_results

HERE = "tests/test_full_results.py"
KEPT = [
    {"file": HERE, "passed": 9, "seconds": 1.0, "date": "2026-01-01"},
    {"file": "tests/support.py", "passed": 2, "seconds": 2.0, "date": "2026-01-02"},
    {"file": "tests/that_is_gone.py", "passed": 1, "seconds": 3.0, "date": "2026-01-03"},
]


def ran(folder: Path, monkeypatch: pytest.MonkeyPatch, *cases: str) -> list[dict[str, object]]:
    """The rows after a run of these cases of this file."""
    inner = "".join(f'<testcase classname="tests.test_full_results" time="2.5">{case}</testcase>' for case in cases)
    (folder / "full.xml").write_text(f"<testsuites><testsuite>{inner}</testsuite></testsuites>")
    (folder / "kept.json").write_text(json.dumps(KEPT))
    monkeypatch.setattr(sys, "argv", ["full_results.py", str(folder / "full.xml"), str(folder / "kept.json")])
    try:
        full_results.main()
    finally:
        rows = json.loads((folder / "kept.json").read_text())
    return list(rows)


def test_a_part_replaces_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    support, mine = ran(tmp_path, monkeypatch, "", "<skipped/>", "")
    assert support == KEPT[1]
    assert (mine["file"], mine["passed"], mine["skipped"], mine["seconds"]) == (HERE, 2, 1, 7.5)
    assert str(mine["date"]) > "2026-01-03" and mine["environment"]


@pytest.mark.parametrize("kind", ["failure", "error"])
def test_a_failure_is_counted_and_ends_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    with pytest.raises(SystemExit) as ended:
        ran(tmp_path, monkeypatch, "", f"<{kind}/>")
    assert ended.value.code == 1
    assert {row["file"]: row.get("failed") for row in json.loads((tmp_path / "kept.json").read_text())}[HERE] == 1
