"""A class list as class heads see it: all names in one prompt, one pass of the language model.

A list that is too long for one prompt is split into several, each with "none of them" at its end, and the mask queries
of all compete. That is no longer exactly one list: a name sees only those before it in its prompt.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from hyperseg_runtime.calls.timing import span
from hyperseg_runtime.contracts.requests import Classes
from hyperseg_runtime.contracts.results import Instances, PanopticMap, Result, SemanticMap
from hyperseg_runtime.errors import NumericsError, PromptError
from hyperseg_runtime.families.class_names import names_by_class
from hyperseg_runtime.families.mask_queries.dimensions import MaskQueryDimensions
from hyperseg_runtime.families.mask_queries.graph_specs import CONDITIONS
from hyperseg_runtime.families.mask_queries.prompts import BACKGROUND, condition
from hyperseg_runtime.families.mask_queries.stages import ListedOutputs, MaskQueryStages
from hyperseg_runtime.families.mask_queries.state import Features, MaskQueryImage, PromptStates
from hyperseg_runtime.heads.class_scores import without_synonyms
from hyperseg_runtime.heads.instances import FoundInstances, find_instances
from hyperseg_runtime.heads.panoptic import merge_panoptic
from hyperseg_runtime.heads.semantic import semantic_map
from hyperseg_runtime.llm.prompt import Prompt, Slot, SlotKind, row_numbers
from hyperseg_runtime.llm.tokenizer import Tokenizer

Stages = MaskQueryStages[Any, ListedOutputs]
Decode = Callable[[Features, PromptStates], ListedOutputs]


class ListTask(StrEnum):
    """What becomes of the scores of a list."""

    PANOPTIC = "panoptic"
    SEMANTIC = "semantic"
    INSTANCE = "instance"


@dataclass(frozen=True)
class ListPrompts:
    """One prompt for each part of the list; names and their synonyms one after another, class by class."""

    prompts: tuple[Prompt, ...]
    parts: tuple[range, ...]  # which names each prompt holds
    class_of: tuple[int, ...]  # for each name


def list_prompts(
    request: Classes, prompt_of: Callable[[Sequence[Slot]], Prompt], tokenizer: Tokenizer, dims: MaskQueryDimensions
) -> ListPrompts:
    """As few prompts as fit, of equally many names. `prompt_of` conditions, the last for "none of them", raises
    PromptError if they do not fit; so does this for a name that cannot be asked or read.
    """
    if not request.names:
        raise PromptError("the class list is empty")
    groups = names_by_class(request)
    conditions = [condition(name, tokenizer, dims) for group in groups for name in group]
    class_of = tuple(index for index, group in enumerate(groups) for _ in group)
    none = condition(BACKGROUND, tokenizer, dims)
    size = CONDITIONS.maximum - 1
    while True:
        starts = range(0, len(conditions), size)
        parts = tuple(range(start, min(start + size, len(conditions))) for start in starts)
        try:
            prompts = tuple(prompt_of([*conditions[part.start : part.stop], none]) for part in parts)
            return ListPrompts(prompts, parts, class_of)
        except PromptError:
            if size == 1:
                raise
            size = min(size - 1, -(-len(conditions) // (len(parts) + 1)))


def segment_list(
    stages: Stages, image: MaskQueryImage[Any], task: ListTask, request: Classes, asked: ListPrompts
) -> Result:
    """One result for the whole list. Raises NumericsError."""

    def decode(features: Features, states: PromptStates) -> ListedOutputs:
        return stages.decode(features, states.hidden_states, [states.prompt], states.first_row)

    read = read_list(stages, image, asked, decode)
    names, (_, geometry) = request.names, image.features()
    about: dict[str, Any] = {"asked": names, "task": task.value, "details": read.details}
    with span("class_list"):
        if task is ListTask.SEMANTIC:
            return SemanticMap(classes=semantic_map(read.class_logits, read.mask_logits, geometry), **about)
        if task is ListTask.INSTANCE:
            found = find_instances(read.class_logits, read.mask_logits, geometry, request.things)
            return list_instances(found, request, task.value, read.details)
        things = request.things or (True,) * len(names)
        ids, segments = merge_panoptic(read.class_logits, read.mask_logits, geometry, things)
        return PanopticMap(ids=ids, segments=segments, **about)


def list_instances(found: FoundInstances, request: Classes, task: str, details: Mapping[str, Any]) -> Instances:
    return Instances(
        asked=request.names,
        task=task,
        masks=found.masks,
        scores=found.scores,
        labels=tuple(request.names[index] for index in found.classes),
        instance_details=tuple({"query": query} for query in found.queries.tolist()),
        details=details,
    )


@dataclass(frozen=True)
class ReadList:
    """What the mask queries of all P prompts of a list say, on the host."""

    class_logits: np.ndarray  # (P Q, C + 1), the last for "none of them"
    mask_logits: np.ndarray  # (P Q, h, w)
    embeddings: np.ndarray  # (P Q, C): what tells objects apart, see `_embeddings`
    details: dict[str, int]  # how they were read


def read_list(stages: Stages, image: MaskQueryImage[Any], asked: ListPrompts, decode: Decode) -> ReadList:
    """`decode` makes the outputs of each prompt from its states. Raises NumericsError."""
    features, _ = image.features()
    logits, masks, embeddings = [], [], []
    details = {"prompts": len(asked.prompts), "prompt_tokens": 0, "reused_tokens": 0}
    with image.trusted():
        for states, part in zip(image.prefill(asked.prompts), asked.parts, strict=True):
            outputs = decode(features, states)
            hidden, scores, mask_logits = read_prompt(stages, states, outputs)
            of_names = np.full((len(scores), len(asked.class_of) + 1), -np.inf, np.float32)
            of_names[:, part.start : part.stop], of_names[:, -1] = scores[:, :-1], scores[:, -1]
            logits.append(without_synonyms(of_names, asked.class_of))
            masks.append(mask_logits)
            embeddings.append(_embeddings(stages, states, outputs, hidden))
            details["prompt_tokens"] += states.prompt.length
            details["reused_tokens"] += states.reused
    return ReadList(np.concatenate(logits), np.concatenate(masks), np.concatenate(embeddings), details)


def read_prompt(stages: Stages, states: PromptStates, outputs: ListedOutputs) -> tuple[np.ndarray, ...]:
    """Hidden states (T, D), class logits (Q, K) and mask logits (Q, h, w) of a prompt, on the host. Raises
    NumericsError.
    """
    wanted = (states.hidden_states, outputs.class_logits, outputs.mask_logits)
    hidden, scores, mask_logits = (array[0] for array in stages.to_host(wanted))
    if not all(np.isfinite(values).all() for values in (hidden[states.own_rows], scores, mask_logits)):
        raise NumericsError()
    return hidden, scores, mask_logits


def _embeddings(stages: Stages, states: PromptStates, outputs: ListedOutputs, hidden: np.ndarray) -> np.ndarray:
    """Of the mask queries, (Q, C): those that the model gives for telling objects of several frames apart, else their
    states as the language model leaves them, without what all of them have in common. Raises NumericsError.
    """
    if outputs.reid_embeddings is None:
        queries = hidden[row_numbers(states.prompt.spans(SlotKind.MASK_QUERIES, states.first_row))]
        own: np.ndarray = queries - queries.mean(axis=0)
        return own
    given: np.ndarray = stages.to_host((outputs.reid_embeddings,))[0][0]
    if not np.isfinite(given).all():
        raise NumericsError()
    return given
