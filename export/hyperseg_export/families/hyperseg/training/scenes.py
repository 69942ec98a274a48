"""Scenes of a range of seeds as arrays, with what is said about them; made once and kept on disk."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from hyperseg_bench.quality.datasets.shapes.expressions import Expression, choose_expressions
from hyperseg_bench.quality.datasets.shapes.questions import Question, QuestionMaker
from hyperseg_bench.quality.datasets.shapes.scene import MOST, SIDE_PX, make_scene
from hyperseg_bench.quality.datasets.shapes.things import VALUES, Attribute
from hyperseg_export.samples import sample_images

COLUMNS: tuple[Attribute, ...] = ("colour", "shape", "texture", "size")
CLASSES = tuple(len(VALUES[column]) + 1 for column in COLUMNS)
"""Values of each column: 0 is "background" or "not said", i + 1 the i-th value."""
EXPRESSIONS_PER_SCENE = 16
QUESTION_ROUNDS = 3
TEXT_ENTROPY = 0x7E87


@dataclass(frozen=True)
class SceneArrays:
    """N scenes: images (N, S, S, 3) and labels (N, S, S) uint8; attributes (N, 6, 4) uint8, one more than the index of
    the value, 0 where there is no thing; centres (N, 6, 2) float32 x, y.
    """

    images: np.ndarray
    labels: np.ndarray
    attributes: np.ndarray
    centres: np.ndarray
    expressions: list[list[Expression]]
    questions: list[list[Question]]

    def __len__(self) -> int:
        return len(self.images)


def photographs() -> list[np.ndarray]:
    """The sample photographs for backgrounds, (H, W, 3) uint8."""
    return [np.asarray(Image.open(path).convert("RGB")) for path in sample_images()]


def scene_arrays(folder: Path, first: int, count: int, tell: Callable[[int], None] = lambda done: None) -> SceneArrays:
    """Scenes of seeds `first`, `first` + 1, ...; read from `folder` where they were made before."""
    arrays, texts = folder / f"scenes-{first}-{count}.npz", folder / f"scenes-{first}-{count}.json"
    if not (arrays.exists() and texts.exists()):
        made = make_arrays(first, count, photographs(), tell)
        folder.mkdir(parents=True, exist_ok=True)
        parts = {name: getattr(made, name) for name in ("images", "labels", "attributes", "centres")}
        np.savez(arrays, **parts)
        said = {"expressions": _plain(made.expressions), "questions": _plain(made.questions)}
        texts.write_text(json.dumps(said))
        return made
    with np.load(arrays) as file:
        images, labels, attributes, centres = (file[n] for n in ("images", "labels", "attributes", "centres"))
    said = json.loads(texts.read_text())
    expressions = [[Expression(e["text"], e["kind"], tuple(e["targets"])) for e in s] for s in said["expressions"]]
    questions = [[Question(**question) for question in scene] for scene in said["questions"]]
    return SceneArrays(images, labels, attributes, centres, expressions, questions)


def _plain(texts: Sequence[Sequence[Expression | Question]]) -> list[list[dict[str, object]]]:
    return [[asdict(text) for text in scene] for scene in texts]


def make_arrays(
    first: int, count: int, backgrounds: Sequence[np.ndarray], tell: Callable[[int], None] = lambda done: None
) -> SceneArrays:
    images = np.zeros((count, SIDE_PX, SIDE_PX, 3), np.uint8)
    labels = np.zeros((count, SIDE_PX, SIDE_PX), np.uint8)
    attributes = np.zeros((count, MOST, len(COLUMNS)), np.uint8)
    centres = np.zeros((count, MOST, 2), np.float32)
    expressions, questions, maker = [], [], QuestionMaker()
    for row in range(count):
        scene = make_scene(first + row, backgrounds)
        images[row], labels[row] = scene.image, scene.labels
        for number, thing in enumerate(scene.things):
            attributes[row, number] = [VALUES[c].index(getattr(thing, c)) + 1 for c in COLUMNS]
            centres[row, number] = thing.x, thing.y
        generator = np.random.default_rng((TEXT_ENTROPY, first + row))
        expressions.append(choose_expressions(scene.things, EXPRESSIONS_PER_SCENE, generator))
        asked = [q for _ in range(QUESTION_ROUNDS) for q in maker.choose(scene.things, generator)]
        questions.append(list(dict.fromkeys(asked)))
        tell(row + 1)
    return SceneArrays(images, labels, attributes, centres, expressions, questions)
