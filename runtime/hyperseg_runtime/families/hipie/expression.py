"""The one object that an expression refers to (hipie-spec 13.6)."""

import numpy as np

from hyperseg_runtime.calls.timing import span
from hyperseg_runtime.families.hipie.instances import Chosen, choose, instance_mask, probabilities, survivors
from hyperseg_runtime.families.hipie.stages import HipieStages, TextStates
from hyperseg_runtime.families.hipie.state import HipieImage


def refer(stages: HipieStages, image: HipieImage, text: TextStates) -> tuple[Chosen, np.ndarray]:
    """The best query and its mask (1, H, W) bool, or none where its box lies outside of the image.

    Nothing decides whether the object is there. Queries are compared with the mean of the words before they saw the
    image (hipie-spec 11).
    """
    geometry, options = image.geometry, stages.dims.options
    found = image.look(text)
    scores = probabilities(stages.word_logits(found, text.mean), found.iou_logits)
    best = choose(scores, found.boxes, survivors(scores, found.boxes, options), geometry, most=1)
    masks = np.zeros((0, *geometry.original_hw), np.bool_)
    if len(best.queries):
        (logits,) = stages.masks(found, best.queries, geometry.valid_hw)
        with span("mask"):
            masks = instance_mask(logits, geometry, options.mask_thres)[None]
    return best, masks
