"""Prompts token for token as the original data sets made them (tests/golden/instructseg/prompts.json)."""

from typing import Any

import pytest

from hyperseg_runtime.errors import PromptError
from hyperseg_runtime.families.instructseg.prompts import Task, expression_of, question_prompt, segmentation_prompt
from hyperseg_runtime.families.instructseg.spec import InstructsegDimensions
from hyperseg_runtime.families.instructseg.state import view_keys
from hyperseg_runtime.llm.prompt import Prompt, SlotKind
from hyperseg_runtime.llm.tokenizer import Tokenizer

PLACEHOLDERS = {
    SlotKind.IMAGE: -200, SlotKind.MASK_QUERIES: -201, SlotKind.CONDITION: -204, SlotKind.PERCEIVER: -205,
}  # fmt: skip
END_OF_TEXT = 50256  # closes the original prompts; we leave it out, nothing can attend to it
CASES = {
    "res_refcoco": Task.REFERRING,
    "reasonseg": Task.REASONING,
    "rvos_davis": Task.VIDEO_OBJECTS,
    "rvos_youtube": Task.VIDEO,
    "revos": Task.VIDEO_REASONING,
}


def asked(task: Task, text: str, references: int, tokenizer: Tokenizer, dims: InstructsegDimensions) -> Prompt:
    expression = expression_of(task, text, tokenizer, dims)
    return segmentation_prompt(task, expression, view_keys(expression.token_ids, references), tokenizer, dims)


@pytest.mark.parametrize(("case", "task"), CASES.items())
def test_segmentation_prompts(
    golden_prompts: dict[str, Any], real_tokenizer: Tokenizer, real_dims: InstructsegDimensions, case: str, task: Task
) -> None:
    expected = golden_prompts[case]
    texts, ids = expected["refer_text"], expected["token_refer_id"]
    texts, ids = (texts, ids) if isinstance(texts, list) else ([texts], [ids])
    for text, token_ids, length in zip(texts, ids, expected["llm_len_full_model"], strict=True):
        said = text.removesuffix("[SEG]")
        prompt = asked(task, said, expected["reference_frames"], real_tokenizer, real_dims)
        assert [*with_placeholders(prompt), END_OF_TEXT] == expected["input_ids"]
        (condition,) = (slot for slot in prompt.slots if slot.kind is SlotKind.CONDITION)
        assert list(condition.token_ids) == token_ids
        assert prompt.length + 1 == length


@pytest.mark.parametrize("case", ["vqa_v2", "mmbench"])
def test_questions(
    golden_prompts: dict[str, Any], real_tokenizer: Tokenizer, real_dims: InstructsegDimensions, case: str
) -> None:
    question = golden_prompts[case]["text"].removeprefix("<image>\n")
    prompt = question_prompt(Task.QUESTION, question, real_tokenizer, real_dims)
    assert with_placeholders(prompt) == golden_prompts[case]["input_ids"]


def test_two_texts_share_the_words_before_the_first_reference(
    real_tokenizer: Tokenizer, real_dims: InstructsegDimensions
) -> None:
    """A row of the perceiver was made with a text in view: no other text may have it, the same text may."""
    cup, spoon = (asked(Task.REFERRING, text, 1, real_tokenizer, real_dims) for text in ("a cup", "a spoon"))
    (perceived,) = cup.spans(SlotKind.PERCEIVER)
    assert spoon.shared_length(cup.rows) == perceived.start > 0
    reasoning = asked(Task.REASONING, "a cup.", 1, real_tokenizer, real_dims)  # the same tokens in another task
    (image,) = cup.spans(SlotKind.IMAGE)
    assert reasoning.shared_length(cup.rows) > image.stop


def test_one_perceiver_block_for_each_reference(real_tokenizer: Tokenizer, real_dims: InstructsegDimensions) -> None:
    prompt = asked(Task.VIDEO, "a cup", 4, real_tokenizer, real_dims)
    assert [len(span) for span in prompt.spans(SlotKind.PERCEIVER)] == [128] * 4
    assert len({slot.depends_on for slot in prompt.slots if slot.kind is SlotKind.PERCEIVER}) == 4


@pytest.mark.parametrize("task", [task for task in Task if "question" not in task.value])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" \n", "the text is empty"),
        ("like <image>", "a prompt has one image"),
        ("the [SEG] cup", "which the model reserves"),
        ("a " * 9_000, r"takes \d+ tokens, the model was exported for 1536"),
    ],
)
def test_texts_that_cannot_be_asked(
    real_tokenizer: Tokenizer, real_dims: InstructsegDimensions, task: Task, text: str, message: str
) -> None:
    with pytest.raises(PromptError, match=message):
        asked(task, text, 4, real_tokenizer, real_dims)


def with_placeholders(prompt: Prompt) -> list[int]:
    """Token ids with one negative number for everything that is not text, however many references there are."""
    ids: list[int] = []
    for slot in prompt.slots:
        if slot.kind is SlotKind.TEXT:
            ids += slot.token_ids
        elif slot.kind is not SlotKind.PERCEIVER or ids[-1] != PLACEHOLDERS[slot.kind]:
            ids.append(PLACEHOLDERS[slot.kind])
    return ids
