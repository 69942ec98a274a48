"""The evaluation asks the right things: who knows the truth scores 1, who does not scores what is expected."""

from typing import cast

import pytest

from hyperseg_bench.quality.asks.ask import ALL, Numbers
from hyperseg_bench.quality.datasets.shapes.clips import KINDS as CLIP_KINDS
from hyperseg_bench.quality.datasets.shapes.expressions import KINDS
from hyperseg_bench.quality.datasets.shapes.questions import ANSWERS
from hyperseg_bench.quality.shapes_evaluation import evaluate_shapes
from hyperseg_runtime.session.pipeline import Pipeline
from knowing_pipeline import Knowing

SEEDS = range(5)
CLIPS = 2


def table(pipeline: Knowing) -> dict[str, Numbers]:
    return evaluate_shapes(cast(Pipeline, pipeline), SEEDS, clips=CLIPS)


def test_who_knows_everything_scores_one() -> None:
    found = table(Knowing(SEEDS))
    kinds = {"expressions": KINDS, "questions": tuple(ANSWERS), "clips": CLIP_KINDS}
    assert {f"{measure}, {kind}" for measure, own in kinds.items() for kind in (*own, ALL)} == found.keys()
    for row in found.values():
        assert {row.get(name, 1) for name in ("ciou", "miou", "accuracy", "j_and_f")} == {1}
    assert found["questions, colour"]["chance"] == pytest.approx(1 / 7)
    assert found["clips, all"]["count"] >= CLIPS


def test_half_masks_and_silence_cost_what_they_should() -> None:
    found = table(Knowing(SEEDS, shrink=True, silent=True))
    assert 0.2 < found["expressions, attribute"]["ciou"] < 0.8
    assert found["questions, all"]["accuracy"] == 0
    assert found["clips, all"]["j"] < 0.9
