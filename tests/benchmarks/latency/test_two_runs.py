"""Two runs compared: what changed, what did not, and what cannot be compared."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from hyperseg_bench.latency.lines import Line, SampleFile
from hyperseg_bench.latency.run_files import SAMPLES
from hyperseg_bench.latency.two_runs import SAME, compare
from hyperseg_runtime.errors import InputError
from latency_lines import made_lines


def written(folder: Path, lines: Sequence[Line]) -> Path:
    folder.mkdir()
    with SampleFile(folder / SAMPLES) as file:
        for line in lines:
            file.add(line)
    return folder


def test_what_changed_is_told_with_its_interval(tmp_path: Path) -> None:
    before = written(tmp_path / "a", made_lines({"same": 10.0, "slower": 10.0, "gone": 1.0}))
    after = written(tmp_path / "b", made_lines({"same": 10.0, "slower": 12.0}, seed=1))
    content = compare(before, after)
    rows = {(row["subject"], row["part"]): row for row in content["rows"]}
    assert rows["same", ""]["verdict"] == SAME and rows["same", ""]["agree"]
    assert rows["slower", ""]["verdict"] == "slower" and not rows["slower", ""]["agree"]
    assert 1.15 < rows["slower", ""]["low"] <= rows["slower", ""]["ratio"] <= rows["slower", ""]["high"] < 1.25
    assert (content["told"], content["agreeing"]) == (4, 2) and 0 < content["widest"] < 0.05
    assert {key[0] for key in content["only_before"]} == {"gone"} and content["only_after"] == []


def test_few_samples_give_no_verdict(tmp_path: Path) -> None:
    folders = [written(tmp_path / name, made_lines({"a": 10.0}, count=3)) for name in "ab"]
    content = compare(*folders)
    assert [row["verdict"] for row in content["rows"]] == [None, None] and content["told"] == 0


def test_runs_of_other_subjects_are_refused(tmp_path: Path) -> None:
    before, after = (written(tmp_path / name, made_lines({name: 10.0})) for name in "ab")
    with pytest.raises(InputError, match="no row in common"):
        compare(before, after)
