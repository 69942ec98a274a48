"""Hybrid entity recognition of a class list: the model names what it sees, masks follow, and both score the classes.

Paper (arXiv 2411.17606): the language model generates the names of objects, mask tokens follow them, and the names of
classes in the prompt are scored. The release has the heads for scores and no prompt for both: the wording, and that a
class is as probable as its likeliest name, listed or generated, are ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hyperseg_runtime.calls.timing import span
from hyperseg_runtime.contracts.requests import Classes
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.errors import PromptError
from hyperseg_runtime.families.class_names import names_by_class
from hyperseg_runtime.families.hyperseg.prompts import (
    RECOGNITION,
    name_runs,
    recognition_prompt,
    rows_behind_answer,
    segmented,
)
from hyperseg_runtime.families.hyperseg.spec import HypersegDimensions
from hyperseg_runtime.families.hyperseg.stages import HypersegStages
from hyperseg_runtime.families.hyperseg.state import HypersegImage
from hyperseg_runtime.families.mask_queries.answering import ANSWER_TOKENS
from hyperseg_runtime.families.mask_queries.graph_specs import CONDITIONS
from hyperseg_runtime.families.mask_queries.listed import list_instances, list_prompts, read_prompt
from hyperseg_runtime.heads.class_scores import without_synonyms
from hyperseg_runtime.heads.instances import find_instances
from hyperseg_runtime.llm.prompt import Prompt, Slot, SlotKind
from hyperseg_runtime.llm.tokenizer import Tokenizer


@dataclass(frozen=True)
class AskedList:
    """A list in one prompt, which the model is to answer with names."""

    prompt: Prompt
    class_of: tuple[int, ...]  # for each name of the list
    max_tokens: int  # of the answer, so that the mask queries fit behind it


@dataclass(frozen=True)
class AnsweredList:
    """The same with an answer and mask queries."""

    prompt: Prompt
    listed: int  # names of the list
    class_of: tuple[int, ...]  # for each of those, then for each name of the answer that is one of a class


def ask_list(request: Classes, tokenizer: Tokenizer, dims: HypersegDimensions) -> AskedList:
    """Raises PromptError for names that cannot be asked, and for a list that leaves no room for an answer."""
    listed = list_prompts(request, lambda names: recognition_prompt(names, tokenizer, dims), tokenizer, dims)
    prompt, *others = listed.prompts
    room = dims.context - prompt.length - rows_behind_answer(dims)
    if others or room < 1:
        raise PromptError(
            f"a list of {len(listed.class_of)} names leaves no room for an answer and {dims.mask_queries} mask queries "
            f"in {dims.context} tokens; shorten it or export with a larger --context"
        )
    return AskedList(prompt, listed.class_of, min(room, ANSWER_TOKENS))


def answered_list(
    asked: AskedList, request: Classes, answer_ids: Sequence[int], tokenizer: Tokenizer, dims: HypersegDimensions
) -> AnsweredList:
    """Names of the answer that are names or synonyms of a class, in any case, are conditions like those of the list."""
    classes = _by_name(request)
    slots: list[Slot] = []
    found: list[int] = []
    for name, run in name_runs(answer_ids, tokenizer):
        known = name.casefold() in classes and len(asked.class_of) + len(found) + 1 < CONDITIONS.maximum
        slots.append(Slot.text(run, SlotKind.CONDITION if known else SlotKind.TEXT))
        if known:
            found.append(classes[name.casefold()])
    return AnsweredList(segmented(asked.prompt, slots, dims), len(asked.class_of), (*asked.class_of, *found))


def segment_answered(
    stages: HypersegStages, image: HypersegImage, request: Classes, answered: AnsweredList, answer: str
) -> Instances:
    """Instances of the classes. Raises NumericsError."""
    features, geometry = image.features()
    with image.trusted():
        (states,) = image.prefill([answered.prompt])
        outputs = stages.decode(features, states.hidden_states, [states.prompt], states.first_row)
        _, scores, mask_logits = read_prompt(stages, states, outputs)
    with span("class_list"):
        none = answered.listed  # its place in the prompt; it is the last of what `without_synonyms` takes
        of_names = np.concatenate([np.delete(scores, none, axis=1), scores[:, none : none + 1]], axis=1)
        logits = without_synonyms(of_names, answered.class_of)
        found = find_instances(logits, mask_logits, geometry, request.things)
    details = {
        "answer": answer,
        "named": [request.names[index] for index in answered.class_of[none:]],
        "prompt_tokens": states.prompt.length,
        "reused_tokens": states.reused,
    }
    return list_instances(found, request, RECOGNITION, details)


def _by_name(request: Classes) -> Mapping[str, int]:
    """Class of every name and synonym."""
    return {name.casefold(): index for index, names in enumerate(names_by_class(request)) for name in names}
