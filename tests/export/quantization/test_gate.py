"""The gate asks once what it compares with."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hyperseg_bench.quality.datasets.registry import Choice
from hyperseg_bench.quality.evaluation import evaluate
from hyperseg_bench.quality.samples import Row
from hyperseg_export.quantization.gate import Gate, in_turn
from hyperseg_runtime.batch.subject import Subject
from hyperseg_runtime.batch.working import Job
from hyperseg_runtime.bundle.quantization import GateEntry, MeasureEntry


def test_an_evaluation_is_made_again_where_another_bundle_is_asked(
    tiny_bundle: Path, bundle_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def work(job: Job, keys: Sequence[str]) -> Iterator[tuple[str, list[Row]]]:
        for key in keys:
            asked.append(key)
            yield key, []

    def watched(subject: Subject, choice: Choice, out: Path, **options: Any) -> dict[str, Any]:
        return evaluate(subject, choice, out, work=work, **options)

    monkeypatch.setattr("hyperseg_export.quantization.gate.evaluate", watched)
    gate = Gate(tmp_path / "gate", Choice("shapes", items=2), 0.5, {"threads": 1}, lambda done, of: None)
    gate.ask_before(tiny_bundle)
    gate.ask_before(tiny_bundle)
    assert len(asked) == 2
    (bundle_copy / "manifest.json").write_bytes((bundle_copy / "manifest.json").read_bytes() + b"\n")
    gate.ask_before(bundle_copy)
    assert len(asked) == 4


def measured(measure: str, drop: float, half: float, iou: float | None) -> MeasureEntry:
    interval = (drop - half, drop + half)
    return MeasureEntry(
        measure=measure, metric="m", items=8, before=1, after=1, drop=drop, interval=interval, iou_to_wide=iou
    )


def test_a_measure_of_one_sample_decides_nothing_unless_it_is_the_only_one() -> None:
    """Its interval is infinite: it would pass, and JSON, which is the manifest, has no word for it."""
    questions, masks = measured("questions", 9.0, float("inf"), None), measured("masks", 0.1, 0.2, 0.99)
    assert in_turn([questions, masks]) == [masks]
    alone = GateEntry(data_set="shapes", split=None, budget=0.5, measures=tuple(in_turn([questions])))
    assert alone.failures
