"""Made scenes and clips as data sets: what is asked about each follows from its seed."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hyperseg_bench.quality.asks.clip import ClipAsk
from hyperseg_bench.quality.asks.expression import ExpressionAsk
from hyperseg_bench.quality.asks.instances import InstancesAsk
from hyperseg_bench.quality.asks.panoptic import PanopticAsk
from hyperseg_bench.quality.asks.question import QuestionAsk
from hyperseg_bench.quality.asks.semantic import SemanticAsk
from hyperseg_bench.quality.datasets.shapes.classes import BACKGROUND, CLASSES, THING_CLASSES, instances, panoptic
from hyperseg_bench.quality.datasets.shapes.clips import Clip, clip_expressions, make_clip
from hyperseg_bench.quality.datasets.shapes.expressions import Expression, choose_expressions
from hyperseg_bench.quality.datasets.shapes.questions import ANSWERS, Question, QuestionMaker
from hyperseg_bench.quality.datasets.shapes.scene import Scene, make_scene, things_of
from hyperseg_bench.quality.metrics.panoptic import Segment
from hyperseg_bench.quality.metrics.stored_masks import StoredMasks
from hyperseg_bench.quality.samples import Sample

EVALUATION_ENTROPY = 0xE7A1
EXPRESSIONS = 8
"""Of each scene: two of every kind where there are as many."""
CLIP_EXPRESSIONS = 3
ANSWER_TOKENS = 3
"""The longest answer takes one; more shows whether the model stops."""


def asking(seed: int) -> np.random.Generator:
    """Chooses what is asked about the scene, or the clip, of a seed: expressions first, then questions."""
    return np.random.default_rng((EVALUATION_ENTROPY, seed))


@dataclass
class Scenes:
    """The scenes of `seeds`, asked for expressions and with questions.

    The questions form a balanced set: within a kind every answer is right about equally often. So what is asked about
    a scene depends on those before it; it is drawn without drawing the scenes.
    """

    seeds: Sequence[int]
    photographs: Sequence[np.ndarray] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        self._maker = QuestionMaker()
        self._asked: list[tuple[list[Expression], list[Question]]] = []

    @property
    def keys(self) -> Sequence[str]:
        return [f"scene-{seed:06}" for seed in self.seeds]

    def sample(self, key: str) -> Sample:
        scene, expressions, questions = self.scene(key)
        masks = [
            ExpressionAsk(f"expression-{number}", said.text, scene.mask(said.targets), said.kind)
            for number, said in enumerate(expressions)
        ]
        answers = [
            QuestionAsk(
                f"question-{number}", asked.text, asked.answer, asked.kind, 1 / len(ANSWERS[asked.kind]), ANSWER_TOKENS
            )
            for number, asked in enumerate(questions)
        ]
        return Sample(key, (scene.image,), (*masks, *answers))

    def scene(self, key: str) -> tuple[Scene, list[Expression], list[Question]]:
        """A scene with what is asked about it."""
        index = self.keys.index(key)
        for seed in self.seeds[len(self._asked) : index + 1]:
            things, generator = things_of(seed), asking(seed)
            expressions = choose_expressions(things, EXPRESSIONS, generator)
            self._asked.append((expressions, self._maker.choose(things, generator)))
        return make_scene(self.seeds[index], self.photographs), *self._asked[index]


@dataclass(frozen=True)
class ClassScenes:
    """The scenes of `seeds`, asked for all classes at once."""

    seeds: Sequence[int]
    photographs: Sequence[np.ndarray] = field(default=(), repr=False)

    @property
    def keys(self) -> Sequence[str]:
        return [f"scene-{seed:06}" for seed in self.seeds]

    def sample(self, key: str) -> Sample:
        scene = make_scene(self.seeds[self.keys.index(key)], self.photographs)
        numbers, found = panoptic(scene)
        segments = tuple(Segment(own.number, CLASSES.index(own.class_name)) for own in found)
        class_of_number = np.array([-1, *(segment.category for segment in segments)], np.int32)
        things = tuple(name != BACKGROUND for name in CLASSES)
        asks = (
            PanopticAsk("panoptic", CLASSES, things, numbers, segments),
            SemanticAsk("semantic", CLASSES, class_of_number[numbers]),
            InstancesAsk(
                "instances",
                THING_CLASSES,
                tuple(range(1, len(THING_CLASSES) + 1)),
                tuple(instances(scene, first=1)),
                (scene.labels.shape[0], scene.labels.shape[1]),
            ),
        )
        return Sample(key, (scene.image,), asks)


@dataclass(frozen=True)
class Clips:
    """The clips of `seeds`, asked for expressions that hold in every frame."""

    seeds: Sequence[int]
    photographs: Sequence[np.ndarray] = field(default=(), repr=False)

    @property
    def keys(self) -> Sequence[str]:
        return [f"clip-{seed:06}" for seed in self.seeds]

    def sample(self, key: str) -> Sample:
        clip, said = self.clip(key)
        asks = [
            ClipAsk(f"expression-{number}", one.text, StoredMasks(clip.masks(one.targets)), one.kind)
            for number, one in enumerate(said)
        ]
        return Sample(key, tuple(clip.frames), tuple(asks))

    def clip(self, key: str) -> tuple[Clip, list[Expression]]:
        """A clip with the expressions about it."""
        clip = make_clip(self.seeds[self.keys.index(key)], self.photographs)
        return clip, clip_expressions(clip, CLIP_EXPRESSIONS, asking(clip.seed))
