"""The prompts HyperSeg was trained with (hyperseg-spec 4.3). Wording and spelling are the release's."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from hyperseg_runtime.errors import PromptError
from hyperseg_runtime.families.hyperseg.spec import CONDITIONS, HypersegDimensions
from hyperseg_runtime.llm.prompt import IMAGE, LEARNED, Dependencies, Prompt, Slot, SlotKind
from hyperseg_runtime.llm.tokenizer import Tokenizer

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
SEGMENTATION_ANSWER = " \nSure, the segmentation result is <answer><mask queries>"


class Task(StrEnum):
    REFERRING = "referring"
    REASONING = "reasoning"
    VIDEO = "video"
    QUESTION = "question"
    TEXT_QUESTION = "question without an image"
    NAMING = "naming"


class ListTask(StrEnum):
    """Those whose prompt lists several conditions instead of one text."""

    PANOPTIC = "panoptic"
    SEMANTIC = "semantic"
    INSTANCE = "instance"
    REGION = "region"


CLASS_LIST = "class list"
"""The task without a prompt of its own: each class is asked for as an expression."""


@dataclass(frozen=True)
class Template:
    """`human` and `answer` with tags; `expression` turns the user's text into what training saw."""

    human: str
    answer: str
    expression: Callable[[str], str]


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith(".") else f"{text}."


def _frame_expression(text: str) -> str:
    return text.strip().replace("(s)", "")


TEMPLATES: Mapping[Task, Template] = {
    Task.REFERRING: Template(
        "This is an image <image>\n<perceiver>\n, Please doing Referring Segmentation according to "
        "the following instruction:\n<expression>",
        SEGMENTATION_ANSWER,
        _sentence,
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
        _frame_expression,
    ),
    Task.QUESTION: Template("<image>\n<question>", "", str.strip),
    Task.TEXT_QUESTION: Template("<question>", "", str.strip),
    # Ours: the paper's hybrid entity recognition names no template and the release has none.
    Task.NAMING: Template("This is an image <image>\n<perceiver>\n, <question>", "", str.strip),
}
IMAGE_TAG = "<image>"
TAG = re.compile(r"(<image>|<perceiver>|<expression>|<condition>|<answer>|<mask queries>)")
QUESTION_TAG = "<question>"

# The release has heads for these tasks and no prompt. The wording is that of PSALM, whose code it goes on from, around
# HyperSeg's image and perceiver; the golden cases of the original code were made with it.
CLASS_PROMPT = (
    f"{SYSTEM} USER: This is an image <image>\n<perceiver>\n, Please do {{wording}} Segmentation.\n"
    "This is all the candidate categories: {conditions}.\n"
    " ASSISTANT: \nSure, the segmentation result is <mask queries>"
)
CLASS_WORDING = {ListTask.PANOPTIC: "Panoptic", ListTask.SEMANTIC: "Semantic", ListTask.INSTANCE: "Panoptic"}
BACKGROUND = "background"
"""Closes every class list: none of them."""
REGION_PROMPT = (
    f"{SYSTEM} USER: This is an image <image>\n<perceiver>\n, Please segment by given regions\n"
    "This is all regions:  {conditions}.\n"
    " ASSISTANT: \n<answer><mask queries>"
)


def build_prompt(task: Task, text: str, tokenizer: Tokenizer, dims: HypersegDimensions) -> Prompt:
    """The prompt of `task` for the user's `text`.

    Every piece between tags is encoded on its own, as in training; a question is encoded together with
    the template text around it. The closing end-of-text token is left out: nothing can attend to it.
    Raises PromptError for text that cannot be asked or does not fit.
    """
    if IMAGE_TAG in text:
        raise PromptError(f"the text holds {IMAGE_TAG}: a prompt has one image, which stands beside the text")
    template = TEMPLATES[task]
    reserved = (dims.seg_token_id, dims.eos_token_id)
    text = template.expression(text) if text.strip() else text
    expression_ids = tokenizer.encode_user_text(text, reserved)
    expression = Slot.text([*expression_ids, dims.seg_token_id], SlotKind.CONDITION)
    full = f"{SYSTEM} USER: {template.human} ASSISTANT:{template.answer}"
    return _assembled(full, (expression,), tokenizer, dims, text)


def class_conditions(names: Sequence[str], tokenizer: Tokenizer, dims: HypersegDimensions) -> list[Slot]:
    """One for each name. Raises PromptError for a name that cannot be asked."""
    reserved = (dims.seg_token_id, dims.eos_token_id)
    ids = (tokenizer.encode_user_text(name, reserved) for name in names)
    return [Slot.text([*of_name, dims.seg_token_id], SlotKind.CONDITION) for of_name in ids]


def class_prompt(task: ListTask, conditions: Sequence[Slot], tokenizer: Tokenizer, dims: HypersegDimensions) -> Prompt:
    """Of `class_conditions`, the last for `BACKGROUND`. Raises PromptError for a list that does not fit."""
    full = CLASS_PROMPT.format(wording=CLASS_WORDING[task], conditions=", ".join(["<condition>"] * len(conditions)))
    return _assembled(full, conditions, tokenizer, dims)


def region_prompt(regions: Sequence[Dependencies], tokenizer: Tokenizer, dims: HypersegDimensions) -> Prompt:
    """One condition for each region, a row that depends on this. Raises PromptError where they do not fit."""
    conditions = [Slot.block(SlotKind.CONDITION, 1, depends_on) for depends_on in regions]
    full = REGION_PROMPT.format(conditions=", ".join(["<condition>"] * len(conditions)))
    return _assembled(full, conditions, tokenizer, dims)


def _assembled(
    full: str, conditions: Sequence[Slot], tokenizer: Tokenizer, dims: HypersegDimensions, question: str = ""
) -> Prompt:
    """Slots for the tags of `full`; its conditions are filled in order. Raises PromptError if it does not fit."""
    slots: list[Slot] = []
    waiting = iter(conditions)
    for piece in filter(None, TAG.split(full)):
        match piece:
            case "<image>":
                slots.append(Slot.block(SlotKind.IMAGE, dims.image_tokens, IMAGE))
            case "<perceiver>":
                slots.append(Slot.block(SlotKind.PERCEIVER, dims.perceiver_queries, IMAGE))
            case "<mask queries>":
                slots.append(Slot.block(SlotKind.MASK_QUERIES, dims.mask_queries, LEARNED))
            case "<answer>":
                slots.append(Slot.text([dims.seg_token_id]))
            case "<expression>" | "<condition>":
                slots.append(next(waiting))
            case _:
                slots.append(Slot.text(tokenizer.encode(piece.replace(QUESTION_TAG, question))))
    prompt = Prompt(tuple(slots))
    prompt.check(dims.context, dims.token_rows)
    return prompt


def continue_prompt(prompt: Prompt, token_ids: Sequence[int], dims: HypersegDimensions) -> Prompt:
    """`prompt` and what was answered so far."""
    longer = Prompt((*prompt.slots, Slot.text(token_ids)))
    longer.check(dims.context, dims.token_rows)
    return longer


def segment_names_prompt(
    asked: Prompt, answer_ids: Sequence[int], tokenizer: Tokenizer, dims: HypersegDimensions
) -> tuple[Prompt, list[str]]:
    """Mask queries behind an answer, one condition for every name in it, and the names.

    Paper, hybrid entity recognition: the language model generates the names, mask tokens follow. A name is a
    run of tokens without punctuation. Raises PromptError if the answer names nothing or the queries do not fit.
    """
    slots: list[Slot] = []
    for is_name, run in groupby(answer_ids, lambda token: any(map(str.isalnum, tokenizer.decode([token])))):
        slots.append(Slot.text(list(run), SlotKind.CONDITION if is_name else SlotKind.TEXT))
    names = [tokenizer.decode(slot.token_ids).strip() for slot in slots if slot.kind is SlotKind.CONDITION]
    if not names:
        raise PromptError(f"the model named nothing to segment; it answered {tokenizer.decode(answer_ids)!r}")
    if len(names) > CONDITIONS.maximum:
        raise PromptError(f"the model named {len(names)} objects, at most {CONDITIONS.maximum} fit; lower max_tokens")
    queries = Slot.block(SlotKind.MASK_QUERIES, dims.mask_queries, LEARNED)
    prompt = Prompt((*asked.slots, *slots, Slot.text([dims.seg_token_id]), queries))
    prompt.check(dims.context, dims.token_rows)
    return prompt, names
