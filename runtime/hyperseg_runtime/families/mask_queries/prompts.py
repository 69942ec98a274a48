"""Prompts as text with tags, and what stands in for the tags."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hyperseg_runtime.errors import PromptError
from hyperseg_runtime.families.mask_queries.dimensions import MaskQueryDimensions
from hyperseg_runtime.llm.prompt import LEARNED, Dependencies, Prompt, Slot, SlotKind
from hyperseg_runtime.llm.tokenizer import Tokenizer

IMAGE_TAG, QUESTION_TAG = "<image>", "<question>"
TAG = re.compile(r"(<image>|<perceiver>|<expression>|<condition>|<answer>|<mask queries>)")
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
SEGMENTATION_ANSWER = " \nSure, the segmentation result is <answer><mask queries>"
BACKGROUND = "background"
"""Closes every class list: none of them."""


@dataclass(frozen=True)
class Template:
    """`human` and `answer` with tags; `expression` turns the user's text into what training saw."""

    human: str
    answer: str
    expression: Callable[[str], str]

    @property
    def chat(self) -> str:
        return f"{SYSTEM} USER: {self.human} ASSISTANT:{self.answer}"


def sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith(".") else f"{text}."


def frame_expression(text: str) -> str:
    return text.strip().replace("(s)", "")


def refuse_image_tags(text: str) -> None:
    """Raises PromptError."""
    if IMAGE_TAG in text:
        raise PromptError(f"the text holds {IMAGE_TAG}: a prompt has one image, which stands beside the text")


def condition(text: str, tokenizer: Tokenizer, dims: MaskQueryDimensions) -> Slot:
    """The user's text and the tag that closes it. Raises PromptError for text that cannot be asked."""
    ids = tokenizer.encode_user_text(text, (dims.seg_token_id, dims.eos_token_id))
    return Slot.text([*ids, dims.seg_token_id], SlotKind.CONDITION)


def assemble(
    full: str,
    visual: Mapping[str, Sequence[Slot]],
    conditions: Sequence[Slot],
    tokenizer: Tokenizer,
    dims: MaskQueryDimensions,
    question: str = "",
) -> Prompt:
    """Slots for the tags of `full`: those of `visual` by their tags, conditions in order.

    Every piece between tags is encoded on its own, as in training; a question is encoded together with
    the template text around it. The closing end-of-text token is left out: nothing can attend to it.
    Raises PromptError if it does not fit.
    """
    prompt = Prompt(tuple(_slots(full, visual, conditions, tokenizer, dims, question)))
    prompt.check(dims.context, dims.token_rows)
    return prompt


def _slots(
    full: str,
    visual: Mapping[str, Sequence[Slot]],
    conditions: Sequence[Slot],
    tokenizer: Tokenizer,
    dims: MaskQueryDimensions,
    question: str,
) -> Iterator[Slot]:
    waiting = iter(conditions)
    for piece in filter(None, TAG.split(full)):
        match piece:
            case "<mask queries>":
                yield mask_queries(dims)
            case "<answer>":
                yield Slot.text([dims.seg_token_id])
            case "<expression>" | "<condition>":
                yield next(waiting)
            case _ if piece in visual:
                yield from visual[piece]
            case _:
                yield Slot.text(tokenizer.encode(piece.replace(QUESTION_TAG, question)))


def mask_queries(dims: MaskQueryDimensions) -> Slot:
    return Slot.block(SlotKind.MASK_QUERIES, dims.mask_queries, LEARNED)


def region(depends_on: Dependencies) -> Slot:
    """A condition of one row that depends on this."""
    return Slot.block(SlotKind.CONDITION, 1, depends_on)


def continue_prompt(prompt: Prompt, token_ids: Sequence[int], dims: MaskQueryDimensions) -> Prompt:
    """`prompt` and what was answered so far."""
    longer = Prompt((*prompt.slots, Slot.text(token_ids)))
    longer.check(dims.context, dims.token_rows)
    return longer
