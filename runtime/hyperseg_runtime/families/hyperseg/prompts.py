"""The prompts HyperSeg was trained with (hyperseg-spec 4.3). Wording and spelling are the release's."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from hyperseg_runtime.families.hyperseg.spec import HypersegDimensions
from hyperseg_runtime.prompt import Prompt, Slot, SlotKind
from hyperseg_runtime.tokenizer import Tokenizer

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
}
TAG = re.compile(r"(<image>|<perceiver>|<expression>|<answer>|<mask queries>)")
QUESTION_TAG = "<question>"


def build_prompt(task: Task, text: str, tokenizer: Tokenizer, dims: HypersegDimensions) -> Prompt:
    """The prompt of `task` for the user's `text`.

    Every piece between tags is encoded on its own, as in training; a question is encoded together with
    the template text around it. The closing end-of-text token is left out: nothing can attend to it.
    Raises PromptError for text that cannot be asked or does not fit.
    """
    template = TEMPLATES[task]
    reserved = (dims.seg_token_id, dims.eos_token_id)
    text = template.expression(text) if text.strip() else text
    expression_ids = tokenizer.encode_user_text(text, reserved)
    full = f"{SYSTEM} USER: {template.human} ASSISTANT:{template.answer}"
    slots: list[Slot] = []
    for piece in filter(None, TAG.split(full)):
        match piece:
            case "<image>":
                slots.append(Slot(SlotKind.IMAGE, dims.image_tokens))
            case "<perceiver>":
                slots.append(Slot(SlotKind.PERCEIVER, dims.perceiver_queries))
            case "<mask queries>":
                slots.append(Slot(SlotKind.MASK_QUERIES, dims.mask_queries))
            case "<answer>":
                slots.append(Slot.text([dims.seg_token_id]))
            case "<expression>":
                slots.append(Slot.text([*expression_ids, dims.seg_token_id], SlotKind.CONDITION))
            case _:
                slots.append(Slot.text(tokenizer.encode(piece.replace(QUESTION_TAG, text))))
    prompt = Prompt(tuple(slots))
    prompt.check(dims.context, dims.token_rows)
    return prompt
