"""Prompts token for token as the original data sets made them (tests/golden/psalm/prompts.json)."""

from typing import Any

import pytest

from hyperseg_runtime.errors import PromptError
from hyperseg_runtime.families.mask_queries.prompts import condition
from hyperseg_runtime.families.psalm.prompts import class_prompt, referring_prompt, region_prompt
from hyperseg_runtime.families.psalm.spec import PsalmDimensions
from hyperseg_runtime.llm.prompt import Prompt, SlotKind
from hyperseg_runtime.llm.tokenizer import Tokenizer

IMAGE, MASK_QUERIES, CLASS, REGION, EXPRESSION = -200, -201, -202, -203, -204
CLOSING = [220, 50256]
"""A space and the end of the text close the original prompts; we leave them out, nothing can attend to them."""
LISTS = ("panoptic_small", "panoptic_coco", "instance_coco", "open_vocab")


def ids_with(prompt: Prompt, placeholder: int) -> list[int]:
    """Token ids; `placeholder` for each condition."""
    blocks = {SlotKind.IMAGE: IMAGE, SlotKind.MASK_QUERIES: MASK_QUERIES, SlotKind.CONDITION: placeholder}
    return [i for slot in prompt.slots for i in ([blocks[slot.kind]] if slot.kind in blocks else slot.token_ids)]


@pytest.mark.parametrize("case", LISTS)
def test_class_lists(
    golden_prompts: dict[str, Any], real_tokenizer: Tokenizer, real_dims: PsalmDimensions, case: str
) -> None:
    expected = golden_prompts[case]
    conditions = [condition(name, real_tokenizer, real_dims) for name in expected["class_names"]]
    prompt = class_prompt(conditions, real_tokenizer, real_dims)
    assert [*ids_with(prompt, CLASS), *CLOSING] == expected["input_ids"]
    assert [i for slot in conditions for i in slot.token_ids] == expected["class_name_ids"]
    assert [number for number, slot in enumerate(conditions) for _ in slot.token_ids] == expected["cls_indices"]
    assert prompt.length + len(CLOSING) == expected["llm_len_full_model"]


def test_expressions(golden_prompts: dict[str, Any], real_tokenizer: Tokenizer, real_dims: PsalmDimensions) -> None:
    expected = golden_prompts["referring"]
    text = expected["refer_text"].removesuffix("[SEG]").strip().removesuffix(".")
    prompt = referring_prompt(text, real_tokenizer, real_dims)
    assert [*ids_with(prompt, EXPRESSION), *CLOSING] == expected["input_ids"]
    (named,) = [slot.token_ids for slot in prompt.slots if slot.kind is SlotKind.CONDITION]
    assert list(named) == expected["token_refer_id"]
    assert prompt.length + len(CLOSING) == expected["llm_len_full_model"]


def test_regions(golden_prompts: dict[str, Any], real_tokenizer: Tokenizer, real_dims: PsalmDimensions) -> None:
    expected = golden_prompts["region"]
    prompt = region_prompt([("image", str(number)) for number in range(4)], real_tokenizer, real_dims)
    assert [*ids_with(prompt, REGION), *CLOSING] == expected["input_ids"]
    assert prompt.length + len(CLOSING) == expected["llm_len_full_model"]


@pytest.mark.parametrize("text", ["<answer> <mask queries>", "<expression>", "{conditions}", "{human}"])
def test_tags_in_the_users_text_are_only_text(real_tokenizer: Tokenizer, real_dims: PsalmDimensions, text: str) -> None:
    plain, prompt = (referring_prompt(asked, real_tokenizer, real_dims) for asked in ("x", text))
    assert [slot.kind for slot in prompt.slots] == [slot.kind for slot in plain.slots]
    assert text in real_tokenizer.decode([i for slot in prompt.slots for i in slot.token_ids])


@pytest.mark.parametrize("text", ["[SEG]", "a <|endoftext|>", "<image>", "", "  "])
def test_text_that_cannot_be_asked(real_tokenizer: Tokenizer, real_dims: PsalmDimensions, text: str) -> None:
    with pytest.raises(PromptError):
        referring_prompt(text, real_tokenizer, real_dims)


def test_a_list_that_does_not_fit_is_refused(real_tokenizer: Tokenizer, real_dims: PsalmDimensions) -> None:
    names = [condition(f"thing number {number}", real_tokenizer, real_dims) for number in range(250)]
    with pytest.raises(PromptError, match="the model was exported for 1280"):
        class_prompt(names, real_tokenizer, real_dims)
