"""Prompts token for token as the original data sets made them (tests/golden/hyperseg/prompts.json)."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperseg_runtime.errors import PromptError
from hyperseg_runtime.families.hyperseg.prompts import (
    Task,
    build_prompt,
    class_prompt,
    region_prompt,
    segment_names_prompt,
)
from hyperseg_runtime.families.hyperseg.spec import HypersegDimensions
from hyperseg_runtime.families.mask_queries.listed import ListTask
from hyperseg_runtime.families.mask_queries.prompts import condition
from hyperseg_runtime.llm.prompt import Prompt, SlotKind
from hyperseg_runtime.llm.tokenizer import Tokenizer

PLACEHOLDERS = {
    SlotKind.IMAGE: -200,
    SlotKind.MASK_QUERIES: -201,
    SlotKind.CONDITION: -204,
    SlotKind.PERCEIVER: -205,
}
CLASS, REGION = -202, -203
END_OF_TEXT = 50256  # closes the original prompts; we leave it out, nothing can attend to it
EXPRESSIONS = {"res_refcoco": Task.REFERRING, "reasonseg": Task.REASONING, "revos": Task.VIDEO}
SEGMENTATION = list(EXPRESSIONS.values())


@pytest.fixture(scope="session")
def golden(golden_dir: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((golden_dir / "prompts.json").read_text())
    return content


@pytest.mark.parametrize(("case", "task"), EXPRESSIONS.items())
def test_segmentation_prompts(
    golden: dict[str, Any], real_tokenizer: Tokenizer, real_dims: HypersegDimensions, case: str, task: Task
) -> None:
    expected = golden[case]
    text = expected["refer_text"].removesuffix("[SEG]")
    prompt = build_prompt(task, text, real_tokenizer, real_dims)
    assert [*ids_with_placeholders(prompt), END_OF_TEXT] == expected["input_ids"]
    assert condition_ids(prompt) == expected["token_refer_id"]
    assert prompt.length + 1 == expected["llm_len_full_model"]
    assert prompt.attended_length == prompt.length


def test_class_lists(golden: dict[str, Any], real_tokenizer: Tokenizer, real_dims: HypersegDimensions) -> None:
    expected = golden["class_list_unofficial"]
    conditions = [condition(name, real_tokenizer, real_dims) for name in expected["class_names"]]
    prompt = class_prompt(ListTask.PANOPTIC, conditions, real_tokenizer, real_dims)
    assert [CLASS if i == -204 else i for i in (*ids_with_placeholders(prompt), END_OF_TEXT)] == expected["input_ids"]
    assert [i for slot in conditions for i in slot.token_ids] == expected["class_name_ids"]
    owners = [number for number, slot in enumerate(conditions) for _ in slot.token_ids]
    assert owners == expected["cls_indices"] and len(prompt.spans(SlotKind.CONDITION)) == 4


def test_regions(golden: dict[str, Any], real_tokenizer: Tokenizer, real_dims: HypersegDimensions) -> None:
    prompt = region_prompt([("image", str(number)) for number in range(3)], real_tokenizer, real_dims)
    ids = [REGION if i == -204 else i for i in (*ids_with_placeholders(prompt), END_OF_TEXT)]
    assert ids == golden["region_unofficial"]["input_ids"]
    assert [len(span) for span in prompt.spans(SlotKind.CONDITION)] == [1, 1, 1]


@pytest.mark.parametrize("case", ["vqa_v2", "mmbench"])
def test_questions(golden: dict[str, Any], real_tokenizer: Tokenizer, real_dims: HypersegDimensions, case: str) -> None:
    question = golden[case]["text"].removeprefix("<image>\n")
    prompt = build_prompt(Task.QUESTION, question, real_tokenizer, real_dims)
    assert ids_with_placeholders(prompt) == golden[case]["input_ids"]


def test_rows_of_the_real_model(real_tokenizer: Tokenizer, real_dims: HypersegDimensions) -> None:
    """hyperseg-spec 5.1, with R = 13 instruction tokens."""
    prompt = build_prompt(Task.REFERRING, "the left woman in a red shirt. lady on left.", real_tokenizer, real_dims)
    assert prompt.spans(SlotKind.IMAGE) == [range(36, 765)]
    assert prompt.spans(SlotKind.PERCEIVER) == [range(766, 894)]
    assert prompt.spans(SlotKind.CONDITION) == [range(910, 923)]
    assert prompt.spans(SlotKind.MASK_QUERIES) == [range(938, 1038)]


@pytest.mark.parametrize(
    ("task", "given", "read"),
    [
        (Task.REFERRING, " the cup ", "the cup."),
        (Task.REFERRING, "the cup.", "the cup."),
        (Task.REFERRING, "which cup?", "which cup?."),
        (Task.REASONING, " the cup\n", "the cup"),
        (Task.REASONING, "the cup.", "the cup."),
        (Task.VIDEO, " the dog(s) ", "the dog"),
    ],
)
def test_expressions_are_written_as_in_training(
    real_tokenizer: Tokenizer, real_dims: HypersegDimensions, task: Task, given: str, read: str
) -> None:
    prompt = build_prompt(task, given, real_tokenizer, real_dims)
    assert condition_ids(prompt) == [*real_tokenizer.encode(read), real_dims.seg_token_id]


@pytest.mark.parametrize("text", ["<answer> <mask queries>", "<expression>", "<question>", "a <perceiver>"])
@pytest.mark.parametrize("task", list(Task))
def test_tags_in_the_users_text_are_only_text(
    real_tokenizer: Tokenizer, real_dims: HypersegDimensions, task: Task, text: str
) -> None:
    plain = build_prompt(task, "x", real_tokenizer, real_dims)
    prompt = build_prompt(task, text, real_tokenizer, real_dims)
    assert [slot.kind for slot in prompt.slots] == [slot.kind for slot in plain.slots]
    said = [token_id for slot in prompt.slots for token_id in slot.token_ids]
    assert text in real_tokenizer.decode(said)


@pytest.mark.parametrize("task", list(Task))
def test_a_second_image_is_refused(tokenizer: Tokenizer, dims: HypersegDimensions, task: Task) -> None:
    with pytest.raises(PromptError, match="the text holds <image>: a prompt has one image"):
        build_prompt(task, "the same as in <image>", tokenizer, dims)


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("text", ["", "  \n", "\u00a0"])
def test_empty_text(tokenizer: Tokenizer, dims: HypersegDimensions, task: Task, text: str) -> None:
    with pytest.raises(PromptError, match="the text is empty"):
        build_prompt(task, text, tokenizer, dims)


def test_a_video_expression_of_which_nothing_is_left(tokenizer: Tokenizer, dims: HypersegDimensions) -> None:
    with pytest.raises(PromptError, match="the text is empty"):
        build_prompt(Task.VIDEO, " (s) ", tokenizer, dims)


@pytest.mark.parametrize("task", list(Task))
def test_a_text_of_ten_thousand_words(real_tokenizer: Tokenizer, real_dims: HypersegDimensions, task: Task) -> None:
    with pytest.raises(PromptError, match=r"the text has \d+ characters, at most 20000 are read"):
        build_prompt(task, "word " * 10_000, real_tokenizer, real_dims)
    with pytest.raises(PromptError, match=r"takes \d+ tokens, the model was exported for 1280; .*--context"):
        build_prompt(task, "a " * 9_000, real_tokenizer, real_dims)


@pytest.mark.parametrize("task", SEGMENTATION)
def test_the_longest_text_that_fits(real_tokenizer: Tokenizer, real_dims: HypersegDimensions, task: Task) -> None:
    empty = build_prompt(task, "x.", real_tokenizer, real_dims).length - 2
    room = real_dims.context - empty
    fitting = "x" + " x" * (room - 2) + "."
    assert build_prompt(task, fitting, real_tokenizer, real_dims).length == real_dims.context
    with pytest.raises(PromptError, match=f"takes {real_dims.context + 1} tokens"):
        build_prompt(task, f"x {fitting}", real_tokenizer, real_dims)


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("text", ["the [SEG] cup", "[SEG]", "cup<|endoftext|>"])
def test_reserved_tokens(real_tokenizer: Tokenizer, real_dims: HypersegDimensions, task: Task, text: str) -> None:
    with pytest.raises(PromptError, match="which the model reserves; leave it out"):
        build_prompt(task, text, real_tokenizer, real_dims)


@settings(deadline=None, max_examples=100)
@given(task=st.sampled_from(list(Task)), text=st.text(max_size=60))
def test_any_text_gives_a_prompt_or_a_prompt_error(
    real_tokenizer: Tokenizer, real_dims: HypersegDimensions, task: Task, text: str
) -> None:
    try:
        prompt = build_prompt(task, text, real_tokenizer, real_dims)
    except PromptError:
        return
    ids = [token_id for slot in prompt.slots for token_id in slot.token_ids]
    assert prompt.length <= real_dims.context and max(ids) < real_dims.token_rows
    assert real_dims.eos_token_id not in ids
    assert ids.count(real_dims.seg_token_id) == (2 if task in SEGMENTATION else 0)


def test_more_names_than_the_mask_decoder_takes(real_tokenizer: Tokenizer, real_dims: HypersegDimensions) -> None:
    asked = build_prompt(Task.NAMING, "Name them.", real_tokenizer, real_dims)
    dims = real_dims.model_copy(update={"context": 4096})
    prompt, names = segment_names_prompt(asked, real_tokenizer.encode("cup," * 256), real_tokenizer, dims)
    assert names == ["cup"] * 256 and len(prompt.spans(SlotKind.CONDITION)) == 256
    with pytest.raises(PromptError, match="the model named 257 objects, at most 256 fit"):
        segment_names_prompt(asked, real_tokenizer.encode("cup," * 257), real_tokenizer, dims)


def ids_with_placeholders(prompt: Prompt) -> list[int]:
    """Token ids with one negative number for everything that is not text, as the original writes them."""
    ids: list[int] = []
    for slot in prompt.slots:
        ids += slot.token_ids if slot.kind is SlotKind.TEXT else [PLACEHOLDERS[slot.kind]]
    return ids


def condition_ids(prompt: Prompt) -> list[int]:
    (slot,) = (slot for slot in prompt.slots if slot.kind is SlotKind.CONDITION)
    return list(slot.token_ids)
