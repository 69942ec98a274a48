"""Several texts about one frame whose masks share its pixels out (instructseg-spec 5, 8: Ref-DAVIS)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hyperseg_runtime.calls.timing import span
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.families.instructseg.stages import InstructsegStages
from hyperseg_runtime.families.instructseg.state import InstructsegImage
from hyperseg_runtime.families.mask_queries.masks import Asked, best_masks
from hyperseg_runtime.heads.full_size import full_size, sigmoid
from hyperseg_runtime.heads.merging import painted, shared_out


def objects_by_probability(
    stages: InstructsegStages, frame: InstructsegImage, asked: Sequence[Asked]
) -> list[Instances]:
    """Each pixel is of the text whose best mask is most probable there, or of none. Raises NumericsError."""
    features, geometry = frame.features()
    found, probabilities = [], []
    with frame.trusted():
        for one in asked:
            outputs = stages.decode(features, one.states.hidden_states, [one.states.prompt], one.states.first_row)
            best = best_masks(outputs, geometry, one)
            logits = outputs.mask_logits.to_host()[0, best.instance_details[0]["query"]]
            found.append(best)
            probabilities.append(sigmoid(full_size(logits, geometry)).astype(np.float32))
    with span("merging"):
        return _exclusive(found, shared_out(np.stack(probabilities)))


def objects_in_order(found: Sequence[Instances]) -> list[Instances]:
    """A later text's mask covers those before it."""
    with span("merging"):
        return _exclusive(found, painted(np.stack([one.mask for one in found])))


def _exclusive(found: Sequence[Instances], numbers: np.ndarray) -> list[Instances]:
    return [replace(one, masks=(numbers == number)[None]) for number, one in enumerate(found, 1)]
