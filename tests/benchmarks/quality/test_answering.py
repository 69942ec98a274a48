"""Families are asked what they declare, in the task that fits best; the rest says why it was left out."""

import dataclasses
from typing import cast

import numpy as np
import pytest

from hyperseg_bench.quality.answering import answered, task_for
from hyperseg_bench.quality.asks.expression import ExpressionAsk
from hyperseg_bench.quality.datasets.shapes.asked import Clips, Scenes
from hyperseg_bench.quality.samples import Sample
from hyperseg_bench.quality.table import left_out, make_table
from hyperseg_runtime.contracts.requests import Question
from hyperseg_runtime.families import FAMILIES
from hyperseg_runtime.families.family import VIDEO
from hyperseg_runtime.session.pipeline import Pipeline
from knowing_pipeline import Knowing

WITHOUT_WORDS = next(family for family in FAMILIES.values() if Question.kind in family.lacks and VIDEO in family.lacks)


def test_what_a_family_lacks_is_left_out_with_its_reason() -> None:
    pipeline = cast(Pipeline, Knowing(range(1), family=WITHOUT_WORDS))
    rows = [
        row for data in (Scenes(range(1)), Clips(range(1))) for row in answered(pipeline, data.sample(data.keys[0]))
    ]
    assert {name.split(",")[0] for name in make_table(rows)} == {"expressions"}
    for measure, lacking in (("questions", Question.kind), ("clips", VIDEO)):
        assert left_out(rows)[f"{measure}: {WITHOUT_WORDS.title}: {WITHOUT_WORDS.lacks[lacking]}"] >= 1


@pytest.mark.parametrize(("wanted", "expected"), [((), 0), (("reasoning",), 1), (("unknown", "reasoning"), 1)])
def test_the_task_is_the_best_that_the_family_has(wanted: tuple[str, ...], expected: int) -> None:
    ask = ExpressionAsk("one", "a thing", np.zeros((2, 2), bool), tasks=wanted)
    family = FAMILIES["hyperseg"]
    assert task_for(family, ask) == family.answers(type(ask.request))[expected]


def test_expressions_of_one_task_are_asked_together() -> None:
    pipeline = Knowing(range(1))
    data = Scenes(range(1))
    sample = data.sample(data.keys[0])
    texts = [ask for ask in sample.asks if isinstance(ask, ExpressionAsk)]
    mixed = [dataclasses.replace(ask, tasks=("reasoning",) if number % 2 else ()) for number, ask in enumerate(texts)]
    rows = answered(cast(Pipeline, pipeline), Sample(sample.key, sample.frames, tuple(mixed)))
    assert pipeline.asked_tasks == ["referring", "reasoning"]
    assert [row["ask"] for row in rows] == [ask.name for ask in texts]
    assert [row["task"] for row in rows[:2]] == ["referring", "reasoning"]
    assert {row["iou"] for row in rows} == {1}
