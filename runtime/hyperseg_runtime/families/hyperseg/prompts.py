"""The prompts HyperSeg was trained with (hyperseg-spec 4.3). Wording and spelling are the release's."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import groupby

from hyperseg_runtime.errors import PromptError
from hyperseg_runtime.families.hyperseg.spec import HypersegDimensions
from hyperseg_runtime.families.mask_queries.graph_specs import CONDITIONS
from hyperseg_runtime.families.mask_queries.listed import ListTask
from hyperseg_runtime.families.mask_queries.prompts import (
    SEGMENTATION_ANSWER,
    SYSTEM,
    Template,
    assemble,
    condition,
    frame_expression,
    mask_queries,
    refuse_image_tags,
    region,
    sentence,
)
from hyperseg_runtime.llm.prompt import IMAGE, Dependencies, Prompt, Slot, SlotKind
from hyperseg_runtime.llm.tokenizer import Tokenizer


class Task(StrEnum):
    REFERRING = "referring"
    REASONING = "reasoning"
    VIDEO = "video"
    QUESTION = "question"
    TEXT_QUESTION = "question without an image"
    NAMING = "naming"


CLASS_LIST = "class list"
"""The task without a prompt of its own: each class is asked for as an expression."""


TEMPLATES: Mapping[Task, Template] = {
    Task.REFERRING: Template(
        "This is an image <image>\n<perceiver>\n, Please doing Referring Segmentation according to "
        "the following instruction:\n<expression>",
        SEGMENTATION_ANSWER,
        sentence,
    ),
    Task.REASONING: Template(
        "This is an image <image>\n<perceiver>\n, Please doing Reasoning Segmentation according to "
        "the following instruction:\n<expression>",
        SEGMENTATION_ANSWER,
        str.strip,
    ),
    Task.VIDEO: Template(
        "This is a frame <image>\n<perceiver>\n, Please doing Reasoning Segmentation according to "
        "the following instruction.\nThis is all the instruction: <expression>\n",
        SEGMENTATION_ANSWER,
        frame_expression,
    ),
    Task.QUESTION: Template("<image>\n<question>", "", str.strip),
    Task.TEXT_QUESTION: Template("<question>", "", str.strip),
    # Ours: the paper's hybrid entity recognition names no template and the release has none.
    Task.NAMING: Template("This is an image <image>\n<perceiver>\n, <question>", "", str.strip),
}
# The release has heads for these tasks and no prompt. The wording is that of PSALM, whose code it goes on from, around
# HyperSeg's image and perceiver; the golden cases of the original code were made with it.
CLASS_PROMPT = (
    f"{SYSTEM} USER: This is an image <image>\n<perceiver>\n, Please do {{wording}} Segmentation.\n"
    "This is all the candidate categories: {conditions}.\n"
    " ASSISTANT: \nSure, the segmentation result is <mask queries>"
)
CLASS_WORDING = {ListTask.PANOPTIC: "Panoptic", ListTask.SEMANTIC: "Semantic", ListTask.INSTANCE: "Panoptic"}
RECOGNITION = "recognition"
"""The task in which the model answers a class list with names, and both score the classes. Ours, as that of naming."""
RECOGNITION_PROMPT = (
    f"{SYSTEM} USER: This is an image <image>\n<perceiver>\n, Please do Panoptic Segmentation.\n"
    "This is all the candidate categories: {conditions}.\n"
    " ASSISTANT:"
)
TRACKING = "tracking"
"""The task that asks every frame for a class list, in the prompt for instances."""
REGION = "region"
"""The task whose prompt lists regions."""
REGION_PROMPT = (
    f"{SYSTEM} USER: This is an image <image>\n<perceiver>\n, Please segment by given regions\n"
    "This is all regions:  {conditions}.\n"
    " ASSISTANT: \n<answer><mask queries>"
)


def build_prompt(task: Task, text: str, tokenizer: Tokenizer, dims: HypersegDimensions) -> Prompt:
    """The prompt of `task` for the user's `text`. Raises PromptError for text that cannot be asked or does not fit."""
    refuse_image_tags(text)
    template = TEMPLATES[task]
    text = template.expression(text) if text.strip() else text
    expression = condition(text, tokenizer, dims)
    return assemble(template.chat, _visual(dims), (expression,), tokenizer, dims, text)


def class_prompt(task: ListTask, conditions: Sequence[Slot], tokenizer: Tokenizer, dims: HypersegDimensions) -> Prompt:
    """Of names, the last for "none of them". Raises PromptError for a list that does not fit."""
    full = CLASS_PROMPT.format(wording=CLASS_WORDING[task], conditions=", ".join(["<condition>"] * len(conditions)))
    return assemble(full, _visual(dims), conditions, tokenizer, dims)


def recognition_prompt(conditions: Sequence[Slot], tokenizer: Tokenizer, dims: HypersegDimensions) -> Prompt:
    """Of names, the last for "none of them"; the model's answer follows. Raises PromptError for a list that does not
    fit.
    """
    full = RECOGNITION_PROMPT.format(conditions=", ".join(["<condition>"] * len(conditions)))
    return assemble(full, _visual(dims), conditions, tokenizer, dims)


def region_prompt(regions: Sequence[Dependencies], tokenizer: Tokenizer, dims: HypersegDimensions) -> Prompt:
    """One condition for each region, a row that depends on this. Raises PromptError where they do not fit."""
    full = REGION_PROMPT.format(conditions=", ".join(["<condition>"] * len(regions)))
    return assemble(full, _visual(dims), [region(depends_on) for depends_on in regions], tokenizer, dims)


def _visual(dims: HypersegDimensions) -> dict[str, tuple[Slot, ...]]:
    return {
        "<image>": (Slot.block(SlotKind.IMAGE, dims.image_tokens, IMAGE),),
        "<perceiver>": (Slot.block(SlotKind.PERCEIVER, dims.perceiver_queries, IMAGE),),
    }


def segment_names_prompt(
    asked: Prompt, answer_ids: Sequence[int], tokenizer: Tokenizer, dims: HypersegDimensions
) -> tuple[Prompt, list[str]]:
    """Mask queries behind an answer, one condition for every name in it, and the names.

    Paper, hybrid entity recognition: the language model generates the names, mask tokens follow. Raises PromptError if
    the answer names nothing or the queries do not fit.
    """
    slots = [
        Slot.text(run, SlotKind.CONDITION if name else SlotKind.TEXT) for name, run in name_runs(answer_ids, tokenizer)
    ]
    names = [name for name, _ in name_runs(answer_ids, tokenizer) if name]
    if not names:
        raise PromptError(f"the model named nothing to segment; it answered {tokenizer.decode(answer_ids)!r}")
    if len(names) > CONDITIONS.maximum:
        raise PromptError(f"the model named {len(names)} objects, at most {CONDITIONS.maximum} fit; lower max_tokens")
    return segmented(asked, slots, dims), names


def name_runs(answer_ids: Sequence[int], tokenizer: Tokenizer) -> list[tuple[str, tuple[int, ...]]]:
    """An answer as runs of tokens with punctuation, whose text is left empty, and without: those are names."""
    runs = groupby(answer_ids, lambda token: any(map(str.isalnum, tokenizer.decode([token]))))
    found = [(is_name, tuple(run)) for is_name, run in runs]
    return [(tokenizer.decode(run).strip() if is_name else "", run) for is_name, run in found]


def rows_behind_answer(dims: HypersegDimensions) -> int:
    """What `segmented` adds to an answer."""
    return 1 + dims.mask_queries


def segmented(asked: Prompt, answer: Sequence[Slot], dims: HypersegDimensions) -> Prompt:
    """Mask queries behind an answer. Raises PromptError if they do not fit."""
    prompt = Prompt((*asked.slots, *answer, Slot.text([dims.seg_token_id]), mask_queries(dims)))
    prompt.check(dims.context, dims.token_rows)
    return prompt
