"""What the golden tests of all families go through: every case on every engine, and what nothing was compared with."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hyperseg_export.jobs.progress import Silent
from hyperseg_export.parity.golden import (
    ENGINES,
    MODULES,
    Arrays,
    Found,
    GoldenFolder,
    NotCompared,
    compared_cases,
    matching,
    not_compared,
)
from hyperseg_export.parity.tolerances import Tolerances


@pytest.fixture
def folder(tmp_path: Path) -> GoldenFolder:
    """Two cases, the second with a result that nothing computes; no weights are read."""
    np.savez(tmp_path / "one.npz", in_step=np.float32(1), doubled=np.float32(2), count=np.int64(3))
    np.savez(tmp_path / "two.npz", in_step=np.float32(2), doubled=np.float32(4.5), tripled=np.float32(6))
    return GoldenFolder(tmp_path, {})


class Stages(Silent):
    def __init__(self) -> None:
        self.told: list[tuple[str, int, int]] = []

    def stage(self, name: str, index: int, count: int) -> None:
        self.told.append((name, index, count))


def case(run: str, arrays: Arrays) -> Found:
    """What a run of a family stands for is its own business: here it is a name."""
    assert run == "set up"
    return matching({"doubled": 2 * arrays["in_step"], "count": np.array(3), "more": arrays["in_step"]}, arrays)


CASES: dict[str, Callable[[str, Arrays], Found]] = {"two": case, "one": case, "not stored": case}


@pytest.mark.parametrize("engines", [ENGINES, (MODULES,)])
def test_every_case_of_the_folder_runs_on_every_engine(folder: GoldenFolder, engines: tuple[str, ...]) -> None:
    progress = Stages()
    rows = list(compared_cases(folder, CASES, lambda *_: "set up", progress, engines, Tolerances()))
    names = [f"{engine}: {name}" for engine in engines for name in ("two", "one")]
    assert progress.told == [(name, stage, len(names)) for stage, name in enumerate(names, 1)]
    assert [(row.engine, row.case, row.array, row.passed) for row in rows] == [
        (engine, name, array, passed)
        for engine in engines
        for name, array, passed in (("two", "doubled", False), ("one", "doubled", True), ("one", "count", True))
    ]


def test_what_nothing_was_compared_with_is_named_with_a_reason(folder: GoldenFolder) -> None:
    rows = list(compared_cases(folder, {"one": case}, lambda *_: "set up", Silent(), (MODULES,), Tolerances()))

    def left(array: str) -> str | None:
        return "on purpose" if array == "tripled" else None

    found = list(not_compared(folder, rows, lambda _, array: left(array), lambda array: array.startswith("in_")))
    assert found == [
        NotCompared("two", "doubled", "nothing here computes it"),
        NotCompared("two", "tripled", "on purpose"),
    ]
