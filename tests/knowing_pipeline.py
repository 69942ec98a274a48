"""A pipeline that knows the truth about made pictures, to test what asks and measures."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from hyperseg_bench.quality.datasets.shapes.classes import class_of
from hyperseg_bench.quality.datasets.shapes.clips import make_clip
from hyperseg_bench.quality.datasets.shapes.expressions import all_expressions
from hyperseg_bench.quality.datasets.shapes.questions import MAKERS
from hyperseg_bench.quality.datasets.shapes.scene import make_scene
from hyperseg_bench.quality.datasets.shapes.things import Thing
from hyperseg_runtime.contracts.requests import Classes, Expressions, Question
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.families import FAMILIES
from hyperseg_runtime.families.family import FamilySpec, FrameResults
from hyperseg_runtime.images.reading import ImageSource, load_image


@dataclass
class Knowing:
    """Recognises the pictures of `seeds`; may hide the left half of its masks, or its answers.

    Of what it answers it says what `family` says.
    """

    seeds: Sequence[int]
    shrink: bool = False
    silent: bool = False
    family: FamilySpec = FAMILIES["hyperseg"]

    def __post_init__(self) -> None:
        self.asked_tasks: list[str | None] = []
        self.known: dict[bytes, tuple[tuple[Thing, ...], np.ndarray]] = {}
        for seed in self.seeds:
            scene, clip = make_scene(seed), make_clip(seed)
            self.known[scene.image.tobytes()] = scene.things, scene.labels
            for frame, labels in zip(clip.frames, clip.labels, strict=True):
                self.known[frame.tobytes()] = clip.things[0], labels

    @contextmanager
    def open(self, frame: ImageSource) -> Iterator[Any]:
        image = load_image(frame)
        yield SimpleNamespace(
            run=lambda request: self.segment(image, request),
            ask=lambda question: SimpleNamespace(finished=lambda: SimpleNamespace(text=self.answer(image, question))),
        )

    def open_video(self) -> Any:
        return self

    def push(self, frame: ImageSource, request: Expressions) -> list[FrameResults]:
        return [FrameResults(0, tuple(self.segment(load_image(frame), request)))]

    def finish(self) -> list[FrameResults]:
        return []

    def segment(self, image: np.ndarray, request: Expressions | Classes) -> list[Instances]:
        self.asked_tasks.append(request.task)
        if isinstance(request, Classes):
            return [self.classes(image, request)]
        things, labels = self.known[image.tobytes()]
        targets = {e.text: e.targets for said in all_expressions(things).values() for e in said}
        masks = [np.isin(labels, [target + 1 for target in targets[text]]) for text in request.texts]
        if self.shrink:
            for mask in masks:
                mask[:, : mask.shape[1] // 2] = False
        return [
            Instances(asked=(text,), task="any", masks=mask[None], scores=np.ones(1, np.float32), labels=(text,))
            for text, mask in zip(request.texts, masks, strict=True)
        ]

    def classes(self, image: np.ndarray, request: Classes) -> Instances:
        things, labels = self.known[image.tobytes()]
        masks = np.stack([labels == number for number in range(1, len(things) + 1)])
        if self.shrink:
            masks[:, :, : masks.shape[2] // 2] = False
        found = tuple(class_of(thing) for thing in things)
        scores = np.ones(len(things), np.float32)
        return Instances(asked=request.names, task="any", masks=masks, scores=scores, labels=found)

    def answer(self, image: np.ndarray, question: Question) -> str:
        if self.silent:
            return ""
        things, _ = self.known[image.tobytes()]
        for seed in range(50):  # the makers draw which questions they make
            for make in MAKERS.values():
                for made in make(things, np.random.default_rng(seed)):
                    if made.text == question.text:
                        return made.answer.capitalize()
        raise AssertionError(question.text)
