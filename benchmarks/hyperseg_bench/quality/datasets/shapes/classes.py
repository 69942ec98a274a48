"""The class list of made scenes, a class per colour and shape, and the background as stuff; segments and instances."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperseg_bench.quality.datasets.shapes.scene import Scene
from hyperseg_bench.quality.datasets.shapes.things import COLOURS, SHAPES, Thing
from hyperseg_runtime.contracts.results import box_xyxy, encode_rle

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


def instances(scene: Scene, first: int) -> list[dict[str, Any]]:
    """COCO annotations of a scene's things, numbered from `first` on."""
    made = []
    for index, thing in enumerate(scene.things):
        mask = scene.mask([index])
        made.append(
            {
                "id": first + index, "image_id": scene.seed, "category_id": CLASSES.index(class_of(thing)) + 1,
                "segmentation": encode_rle(mask), "area": int(mask.sum()), "bbox": box_xywh(mask), "iscrowd": 0,
                "thing": index,
            }
        )  # fmt: skip
    return made


def box_xywh(mask: np.ndarray) -> list[int]:
    """Of a bool mask (H, W), as COCO has it."""
    left, top, right, bottom = box_xyxy(mask)
    return [left, top, right - left, bottom - top]
