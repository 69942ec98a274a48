"""The class list of made scenes and its panoptic truth: a class per colour and shape, and the background as stuff."""

from dataclasses import dataclass

import numpy as np

from hyperseg_bench.quality.datasets.shapes.scene import Scene
from hyperseg_bench.quality.datasets.shapes.things import COLOURS, SHAPES, Thing

BACKGROUND = "background"
THING_CLASSES = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
CLASSES = (*THING_CLASSES, BACKGROUND)
"""COCO category i + 1 is CLASSES[i]; all but the last are things."""


@dataclass(frozen=True)
class Segment:
    """One segment of a panoptic map: its number there, its class, and the index of its thing."""

    number: int
    class_name: str
    thing: int | None


def class_of(thing: Thing) -> str:
    return f"{thing.colour} {thing.shape}"


def panoptic(scene: Scene) -> tuple[np.ndarray, tuple[Segment, ...]]:
    """Segment number of every pixel (H, W) int32 - none is void - and the segments."""
    things = tuple(Segment(index + 1, class_of(thing), index) for index, thing in enumerate(scene.things))
    background = Segment(len(things) + 1, BACKGROUND, None)
    numbers = np.where(scene.labels == 0, background.number, scene.labels).astype(np.int32)
    return numbers, (*things, background)


def present_classes(scene: Scene) -> list[str]:
    """Classes of the scene's things, each once, in the order of `CLASSES`."""
    found = {class_of(thing) for thing in scene.things}
    return [name for name in THING_CLASSES if name in found]
