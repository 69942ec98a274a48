"""Two Ray workers give the table of one process."""

from pathlib import Path

import pytest

from hyperseg_bench.quality.datasets.registry import Choice
from hyperseg_bench.quality.evaluation import evaluate
from hyperseg_bench.quality.run_folder import TABLE
from hyperseg_runtime.batch.run_record import ITEMS
from hyperseg_runtime.batch.subject import Subject


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")  # Ray's own, about its sockets and threads
def test_two_workers_give_the_same_table(tiny_bundle: Path, tmp_path: Path) -> None:
    from hyperseg_runtime.batch.on_ray import on_ray

    subject, choice = Subject(tiny_bundle, options={"threads": 1}), Choice("shapes", items=6)
    for name in ("alone", "spread"):
        (tmp_path / name).mkdir()
    evaluate(subject, choice, tmp_path / "alone")
    evaluate(subject, choice, tmp_path / "spread", work=on_ray(2))
    assert (tmp_path / "spread" / TABLE).read_bytes() == (tmp_path / "alone" / TABLE).read_bytes()
    items = tmp_path / "spread" / ITEMS
    items.write_bytes(b"".join(items.read_bytes().splitlines(keepends=True)[:2]))  # as a kill may leave it
    evaluate(subject, choice, tmp_path / "spread", work=on_ray(2))
    assert len(items.read_bytes().splitlines()) == 6
    assert (tmp_path / "spread" / TABLE).read_bytes() == (tmp_path / "alone" / TABLE).read_bytes()
