"""The prompts InstructSeg was trained with (instructseg-spec 4). Wording and spelling are the release's."""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from hyperseg_runtime.families.instructseg.spec import InstructsegDimensions
from hyperseg_runtime.families.mask_queries import merged
from hyperseg_runtime.families.mask_queries.prompts import (
    SEGMENTATION_ANSWER,
    Template,
    assemble,
    condition,
    frame_expression,
    refuse_image_tags,
    sentence,
)
from hyperseg_runtime.llm.prompt import IMAGE, Dependencies, Prompt, Slot, SlotKind
from hyperseg_runtime.llm.tokenizer import Tokenizer


class Task(StrEnum):
    REFERRING = "referring"
    REASONING = "reasoning"
    VIDEO = "video"
    VIDEO_REASONING = "video reasoning"
    VIDEO_OBJECTS = merged.VIDEO_OBJECTS
    VIDEO_PAINTED = merged.VIDEO_PAINTED
    QUESTION = "question"
    TEXT_QUESTION = "question without an image"


def _of_image(word: str) -> str:
    return (
        f"This is an image <perceiver>\n<image>\n, please doing {word} Segmentation according to the following "
        "instruction:\n<expression>"
    )


def _of_frame(word: str) -> str:
    return (
        f"There are reference frames and key frame <perceiver>\n<image>\n. Please doing {word} Segmentation according "
        "to the following instruction.\nThis is all the instruction: <expression>\n"
    )


TEMPLATES: Mapping[Task, Template] = {
    Task.REFERRING: Template(_of_image("Referring"), SEGMENTATION_ANSWER, sentence),
    Task.REASONING: Template(_of_image("Reasoning"), SEGMENTATION_ANSWER, str.strip),
    Task.VIDEO: Template(_of_frame("Referring"), SEGMENTATION_ANSWER, sentence),
    Task.VIDEO_REASONING: Template(_of_frame("Reasoning"), SEGMENTATION_ANSWER, frame_expression),
    Task.VIDEO_OBJECTS: Template(_of_frame("Referring"), SEGMENTATION_ANSWER, sentence),
    Task.VIDEO_PAINTED: Template(_of_frame("Referring"), SEGMENTATION_ANSWER, sentence),
    Task.QUESTION: Template("<image>\n<question>", "", str.strip),
    Task.TEXT_QUESTION: Template("<question>", "", str.strip),
}


def expression_of(task: Task, text: str, tokenizer: Tokenizer, dims: InstructsegDimensions) -> Slot:
    """The user's text as training saw it. Raises PromptError for text that cannot be asked."""
    refuse_image_tags(text)
    return condition(TEMPLATES[task].expression(text) if text.strip() else text, tokenizer, dims)


def segmentation_prompt(
    task: Task, expression: Slot, views: Sequence[Dependencies], tokenizer: Tokenizer, dims: InstructsegDimensions
) -> Prompt:
    """`views`: what the perceiver's rows of each reference depend on. Raises PromptError if it does not fit."""
    perceived = [Slot.block(SlotKind.PERCEIVER, dims.perceiver_queries, view) for view in views]
    visual = {**_image(dims), "<perceiver>": perceived}
    return assemble(TEMPLATES[task].chat, visual, (expression,), tokenizer, dims)


def question_prompt(task: Task, text: str, tokenizer: Tokenizer, dims: InstructsegDimensions) -> Prompt:
    """Raises PromptError for text that cannot be asked or does not fit."""
    expression_of(task, text, tokenizer, dims)
    return assemble(TEMPLATES[task].chat, _image(dims), (), tokenizer, dims, text.strip())


def _image(dims: InstructsegDimensions) -> dict[str, Sequence[Slot]]:
    return {"<image>": (Slot.block(SlotKind.IMAGE, dims.image_tokens, IMAGE),)}
