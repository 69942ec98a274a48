"""Several objects of one frame whose masks share its pixels out (instructseg-spec 5, 8: Ref-DAVIS).

InstructSeg's authors merge a video's objects so; the rule looks at masks alone, so that other families have it in the
same words.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from hyperseg_runtime.calls.timing import span
from hyperseg_runtime.contracts.requests import Request
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.families.family import Task
from hyperseg_runtime.families.mask_queries.masks import Asked, Image, best_masks
from hyperseg_runtime.families.mask_queries.stages import MaskOutputs
from hyperseg_runtime.families.mask_queries.state import Features, PromptStates
from hyperseg_runtime.heads.full_size import full_size, sigmoid
from hyperseg_runtime.heads.merging import painted, shared_out
from hyperseg_runtime.images.preprocessing import ImageGeometry

VIDEO_OBJECTS, VIDEO_PAINTED = "video objects", "video objects in order"


def merging_tasks(kind: type[Request]) -> tuple[Task, Task]:
    """The tasks for frames of which this kind of request names several objects."""
    return (
        Task(
            VIDEO_OBJECTS,
            kind,
            "objects that share a frame's pixels: each is of the likeliest, or of none (Ref-DAVIS's soft merging)",
        ),
        Task(
            VIDEO_PAINTED,
            kind,
            "objects that share a frame's pixels: a later one's mask covers those before it (hard merging)",
        ),
    )


def objects_by_probability(
    frame: Image, asked: Iterable[Asked], decode: Callable[[Features, PromptStates], MaskOutputs]
) -> list[Instances]:
    """The best mask for each text, then `by_probability`. Raises NumericsError."""
    features, geometry = frame.features()
    found, logits = [], []
    with frame.trusted():
        for one in asked:
            outputs = decode(features, one.states)
            best = best_masks(outputs, geometry, one)
            found.append(best)
            logits.append(outputs.mask_logits.to_host()[0, best.instance_details[0]["query"]])
    return by_probability(found, logits, geometry)


def by_probability(
    found: Sequence[Instances], mask_logits: Sequence[np.ndarray], geometry: ImageGeometry
) -> list[Instances]:
    """Each pixel is of the object that is most probable there, or of none. `mask_logits` (h, w) float32 of each one's
    mask, at the network's resolution.
    """
    with span("merging"):
        probabilities = [sigmoid(full_size(logits, geometry)).astype(np.float32) for logits in mask_logits]
        return _exclusive(found, shared_out(np.stack(probabilities)))


def in_order(found: Sequence[Instances]) -> list[Instances]:
    """A later object's mask covers those before it."""
    with span("merging"):
        return _exclusive(found, painted(np.stack([one.mask for one in found])))


def _exclusive(found: Sequence[Instances], numbers: np.ndarray) -> list[Instances]:
    return [replace(one, masks=(numbers == number)[None]) for number, one in enumerate(found, 1)]
