"""The evaluation asks the right things: who knows the truth scores 1, who does not scores what is expected."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from hyperseg_bench.quality.datasets.shapes.clips import KINDS as CLIP_KINDS
from hyperseg_bench.quality.datasets.shapes.clips import make_clip
from hyperseg_bench.quality.datasets.shapes.expressions import KINDS, all_expressions
from hyperseg_bench.quality.datasets.shapes.questions import ANSWERS, MAKERS
from hyperseg_bench.quality.datasets.shapes.scene import make_scene
from hyperseg_bench.quality.datasets.shapes.things import Thing
from hyperseg_bench.quality.shapes_evaluation import ShapesScores, evaluate_shapes
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.families.family import FrameResults
from hyperseg_runtime.session.pipeline import Pipeline

SEEDS = range(5)
CLIPS = 2


@dataclass
class Knowing:
    """A pipeline that recognises every made picture; it may hide the left half of its masks, or its answers."""

    shrink: bool = False
    silent: bool = False

    def __post_init__(self) -> None:
        self.known: dict[bytes, tuple[tuple[Thing, ...], np.ndarray]] = {}
        for seed in SEEDS:
            scene, clip = make_scene(seed), make_clip(seed)
            self.known[scene.image.tobytes()] = scene.things, scene.labels
            for frame, labels in zip(clip.frames, clip.labels, strict=True):
                self.known[frame.tobytes()] = clip.things[0], labels

    @contextmanager
    def open(self, image: np.ndarray) -> Iterator[Any]:
        yield SimpleNamespace(
            segment_many=lambda texts: self.segment_many(image, texts),
            ask=lambda text, max_tokens: SimpleNamespace(
                finished=lambda: SimpleNamespace(text=self.answer(image, text))
            ),
        )

    def open_video(self) -> Any:
        return self

    def push(self, frame: np.ndarray, texts: Sequence[str]) -> list[FrameResults]:
        return [FrameResults(0, tuple(self.segment_many(frame, texts)))]

    def finish(self) -> list[FrameResults]:
        return []

    def segment_many(self, image: np.ndarray, texts: Sequence[str]) -> list[Any]:
        things, labels = self.known[image.tobytes()]
        targets = {e.text: e.targets for said in all_expressions(things).values() for e in said}
        masks = [np.isin(labels, [target + 1 for target in targets[text]]) for text in texts]
        if self.shrink:
            for mask in masks:
                mask[:, : mask.shape[1] // 2] = False
        return [
            Instances(asked=(text,), task="any", masks=mask[None], scores=np.ones(1, np.float32), labels=(text,))
            for text, mask in zip(texts, masks, strict=True)
        ]

    def answer(self, image: np.ndarray, text: str) -> str:
        if self.silent:
            return ""
        things, _ = self.known[image.tobytes()]
        for seed in range(50):  # the makers draw which questions they make
            for make in MAKERS.values():
                for question in make(things, np.random.default_rng(seed)):
                    if question.text == text:
                        return question.answer.capitalize()
        raise AssertionError(text)


def scores(pipeline: Knowing) -> ShapesScores:
    return evaluate_shapes(cast(Pipeline, pipeline), SEEDS, clips=CLIPS)


def test_who_knows_everything_scores_one() -> None:
    table = scores(Knowing()).table()
    expected = [*(f"expressions, {kind}" for kind in KINDS), *(f"questions, {kind}" for kind in ANSWERS)]
    assert {*expected, "questions, all", "clips"} == table.keys()
    for row in table.values():
        assert {row.get(name, 1) for name in ("ciou", "miou", "accuracy", "j_and_f")} == {1}
    assert table["questions, colour"]["chance"] == pytest.approx(1 / 7)
    assert table["clips"]["count"] >= CLIPS
    assert set(CLIP_KINDS) < set(KINDS)


def test_half_masks_and_silence_cost_what_they_should() -> None:
    table = scores(Knowing(shrink=True, silent=True)).table()
    assert 0.2 < table["expressions, attribute"]["ciou"] < 0.8
    assert table["questions, all"]["accuracy"] == 0
    assert table["clips"]["j"] < 0.9


def test_nothing_asked_gives_an_empty_table() -> None:
    assert ShapesScores().table() == {}
