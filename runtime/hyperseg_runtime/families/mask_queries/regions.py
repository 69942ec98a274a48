"""Regions of an image in one prompt, as many as fit; one result for each."""

from collections.abc import Callable, Sequence
from typing import Any

from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.families.mask_queries.graph_specs import CONDITIONS
from hyperseg_runtime.families.mask_queries.masks import Asked, begun, finished
from hyperseg_runtime.families.mask_queries.stages import ListedOutputs, MaskQueryStages
from hyperseg_runtime.families.mask_queries.state import MaskQueryImage
from hyperseg_runtime.llm.prompt import Dependencies, Prompt


def segment_regions(
    stages: MaskQueryStages[Any, ListedOutputs],
    image: MaskQueryImage[Any],
    regions: Sequence[Dependencies],
    names: Sequence[str],
    task: str,
    prompt_of: Callable[[Sequence[Dependencies]], Prompt],
) -> list[Instances]:
    """`regions` are those that `MaskQueryImage.hold_regions` gave. Raises PromptError, NumericsError."""
    found = []
    for start in range(0, len(regions), CONDITIONS.maximum):
        part = slice(start, start + CONDITIONS.maximum)
        (states,) = image.prefill([prompt_of(regions[part])])
        asked = Asked(states, names[part], task)
        features, _ = image.features()
        outputs = stages.decode(features, states.hidden_states, [states.prompt], states.first_row)
        with image.trusted():
            (together,) = finished(stages, [begun(stages, image, asked, outputs.of_regions())])
        found += [together.chosen([row]).asked_as(name) for row, name in enumerate(names[part])]
    return found
