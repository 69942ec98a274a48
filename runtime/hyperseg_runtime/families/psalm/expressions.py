"""Expressions that may name several objects, or none: masks put together (psalm-spec 7)."""

from collections.abc import Iterable

import numpy as np

from hyperseg_runtime.calls.timing import span
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.errors import NumericsError
from hyperseg_runtime.families.mask_queries.masks import Asked
from hyperseg_runtime.families.psalm.stages import PsalmStages
from hyperseg_runtime.families.psalm.state import PsalmImage
from hyperseg_runtime.families.psalm.tasks import Task
from hyperseg_runtime.heads.union import MIN_SCORE, union_of_queries


def unions(stages: PsalmStages, image: PsalmImage, asked: Iterable[Asked]) -> list[Instances]:
    """One mask for each expression, of all that it names. Raises NumericsError."""
    with image.trusted():
        return [_union(stages, image, one) for one in asked]


def _union(stages: PsalmStages, image: PsalmImage, asked: Asked) -> Instances:
    features, geometry = image.features()
    states = asked.states
    outputs = stages.decode(features, states.hidden_states, [states.prompt], states.first_row)
    wanted = (states.hidden_states, outputs.mask_logits, outputs.score_logits)
    hidden, mask_logits, score_logits = (array[0] for array in stages.to_host(wanted))
    if not all(np.isfinite(values).all() for values in (hidden[states.own_rows], mask_logits, score_logits)):
        raise NumericsError()
    with span("union"):
        found = union_of_queries(mask_logits, score_logits[:, 0], geometry)
    nothing = asked.task == Task.UNION_OR_NONE and not found.above
    return Instances(
        asked=tuple(asked.labels),
        task=asked.task,
        masks=(np.zeros_like(found.mask) if nothing else found.mask)[None],
        scores=np.array([found.score], np.float32),
        labels=tuple(asked.labels),
        instance_details=({"queries": list(found.queries)},),
        details={
            f"queries_above_{MIN_SCORE:g}": found.above,
            "queries_evaluated": found.evaluated,
            "prompt_tokens": states.prompt.length,
            "reused_tokens": states.reused,
        },
    )
