"""From a prompt's hidden states to its masks."""

from collections.abc import Sequence

import numpy as np

from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.errors import NumericsError
from hyperseg_runtime.families.hyperseg.prompts import Task
from hyperseg_runtime.families.hyperseg.stages import HypersegStages, MaskOutputs
from hyperseg_runtime.families.hyperseg.state import HypersegImage, PromptStates
from hyperseg_runtime.heads.referring import best_query
from hyperseg_runtime.images.preprocessing import ImageGeometry
from hyperseg_runtime.timing import span


def masks(
    stages: HypersegStages, image: HypersegImage, states: PromptStates, labels: Sequence[str], task: Task
) -> Instances:
    """The best mask for each condition of the prompt; one label for each."""
    features, geometry = image.features()
    outputs = stages.decode(features, states.hidden_states, [states.prompt], states.first_row)
    return best_masks(outputs, geometry, states, labels, task)


def best_masks(
    outputs: MaskOutputs, geometry: ImageGeometry, states: PromptStates, labels: Sequence[str], task: Task
) -> Instances:
    """One instance for each label, in the order of the prompt's conditions."""
    with span("best_mask"):
        mask_logits, score_logits = outputs.mask_logits.to_host()[0], outputs.score_logits.to_host()[0]
        if not (np.isfinite(mask_logits).all() and np.isfinite(score_logits).all()):
            raise NumericsError()
        best = [best_query(mask_logits, score_logits[:, column], geometry) for column in range(len(labels))]
    return Instances(
        asked=tuple(labels),
        task=task.value,
        masks=np.stack([one.mask for one in best]),
        scores=np.array([one.score for one in best], np.float32),
        labels=tuple(labels),
        instance_details=tuple({"query": one.query} for one in best),
        details={
            "queries_evaluated": sum(one.evaluated for one in best),
            "prompt_tokens": states.prompt.length,
            "reused_tokens": states.reused,
        },
    )
