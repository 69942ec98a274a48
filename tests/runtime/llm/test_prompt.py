from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperseg_runtime.errors import PromptError
from hyperseg_runtime.llm.packing import pack
from hyperseg_runtime.llm.prompt import (
    IMAGE,
    LEARNED,
    Prompt,
    Row,
    Slot,
    SlotKind,
    row_numbers,
    starts_and_ends,
)

PROMPT = Prompt(
    (
        Slot.text([4, 5, 6]),
        Slot.block(SlotKind.IMAGE, 10, IMAGE),
        Slot.text([7]),
        Slot.text([1, 2], SlotKind.CONDITION),
        Slot.text([8]),
        Slot.text([3], SlotKind.CONDITION),
        Slot.block(SlotKind.END, 1, LEARNED),
    )
)
SPANS = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9)).map(lambda s: range(s[0], sum(s))), max_size=5)


def test_lengths_and_spans_follow_the_slots() -> None:
    assert PROMPT.length == 19 and PROMPT.attended_length == 18
    assert PROMPT.spans(SlotKind.TEXT) == [range(0, 3), range(13, 14), range(16, 17)]
    assert PROMPT.spans(SlotKind.IMAGE) == [range(3, 13)]
    assert PROMPT.spans(SlotKind.CONDITION) == [range(14, 16), range(17, 18)]
    assert PROMPT.spans(SlotKind.MASK_QUERIES) == []


def test_text_slots_keep_their_ids() -> None:
    slot = Slot.text([4, 5, 6])
    assert (slot.kind, slot.length, slot.token_ids) == (SlotKind.TEXT, 3, (4, 5, 6))


def test_a_prompt_that_fills_the_context_is_accepted() -> None:
    PROMPT.check(context=19, token_rows=9)


def test_a_prompt_that_is_too_long_says_both_lengths() -> None:
    with pytest.raises(PromptError, match=r"takes 19 tokens, the model was exported for 18; .*--context"):
        PROMPT.check(context=18, token_rows=9)


@pytest.mark.parametrize("ids", [[9], [0, 9], [-1, 3], [10**9]])
def test_ids_without_an_embedding_are_refused(ids: list[int]) -> None:
    with pytest.raises(PromptError, match="reach outside the 9 known ones"):
        Prompt((Slot.text(ids),)).check(context=19, token_rows=9)


@given(spans=SPANS)
def test_spans_are_told_by_their_rows_or_their_ends(spans: list[range]) -> None:
    rows, ends = row_numbers(spans), starts_and_ends(spans)
    assert rows.dtype == ends.dtype == np.int64 and ends.shape == (len(spans), 2)
    assert rows.tolist() == [row for span in spans for row in span]
    assert [range(*pair) for pair in ends.tolist()] == spans


def test_a_prompt_of_text_alone_is_its_ids() -> None:
    assert Prompt((Slot.text([1, 2]), Slot.text([3], SlotKind.CONDITION))).token_ids == (1, 2, 3)
    assert PROMPT.token_ids is None


def test_rows_name_what_fills_them() -> None:
    image = [(SlotKind.IMAGE, IMAGE, 10, index) for index in range(10)]
    assert PROMPT.rows == (4, 5, 6, *image, 7, 1, 2, 8, 3, (SlotKind.END, LEARNED, 1, 0))


@pytest.mark.parametrize(
    "slot", [(SlotKind.IMAGE, 2), (SlotKind.TEXT, 2, (1,)), (SlotKind.IMAGE, 2, (1, 2), IMAGE)], ids=str
)
def test_a_slot_has_either_token_ids_or_dependencies(slot: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="slot of 2 rows has either as many token ids or dependencies"):
        Slot(*slot)


def test_rows_that_something_reads_are_not_reused() -> None:
    assert PROMPT.reusable_length == 14  # the first condition
    assert Prompt((Slot.text([1, 2, 3]),)).reusable_length == 2  # the newest token's hidden state is wanted
    image = Slot.block(SlotKind.IMAGE, 3, IMAGE)
    assert Prompt((Slot.text([1, 2]), image)).reusable_length == 2  # a block is brought whole
    assert Prompt((image, Slot.text([1]), Slot.text([]))).reusable_length == 3
    queries = Prompt(
        (Slot.text([1]), Slot.block(SlotKind.MASK_QUERIES, 4, LEARNED), Slot.text([2], SlotKind.CONDITION))
    )
    assert queries.reusable_length == 1


@pytest.mark.parametrize(
    ("held", "shared"), [((), 0), ((9,), 0), ((4, 5), 2), (PROMPT.rows[:9], 9), (PROMPT.rows, 14), ((4, 9, 6), 1)]
)
def test_shared_rows_are_the_equal_ones_before_anything_is_read(held: tuple[Row, ...], shared: int) -> None:
    assert PROMPT.shared_length(held) == shared


@pytest.mark.parametrize("row", [*range(4), *range(13, 20)])
def test_the_rest_of_a_prompt_is_its_last_rows(row: int) -> None:
    assert PROMPT.after(row).rows == PROMPT.rows[row:]


def test_a_block_is_not_cut() -> None:
    with pytest.raises(ValueError, match="row 5 lies inside the image slot"):
        PROMPT.after(5)


def test_two_images_are_refused() -> None:
    image = Slot.block(SlotKind.IMAGE, 2, IMAGE)
    with pytest.raises(PromptError, match="the prompt holds 2 images, the model reads one"):
        Prompt((image, Slot.text([1]), image)).check(context=19, token_rows=9)


Written = tuple[str, int]
"""What a slot of a random prompt is filled with, and a number: a token id, or rows of a block."""
SLOTS = st.tuples(
    st.sampled_from(["token", "condition", "image", "image and expression", "image and another text", "learned"]),
    st.integers(1, 3),
)
LAYOUTS = st.lists(SLOTS, min_size=1, max_size=6)
EXPRESSIONS = st.sampled_from(["", "image", "cup", "cups", "a cup"])


@settings(deadline=None, max_examples=300)
@given(layouts=st.lists(LAYOUTS, min_size=1, max_size=2), asked=st.lists(EXPRESSIONS, min_size=2, max_size=5))
def test_prompts_share_the_rows_that_hold_the_same_and_no_others(
    layouts: list[list[Written]], asked: list[str]
) -> None:
    """In particular no row that was computed with another text in view; of one layout and one text they share all."""
    prompts = [written(layouts[number % len(layouts)], text) for number, text in enumerate(asked)]
    meanings = [meaning(layouts[number % len(layouts)], text) for number, text in enumerate(asked)]
    for prompt, own in zip(prompts, meanings, strict=True):
        assert len(own) == prompt.length
        for other, theirs in zip(prompts, meanings, strict=True):
            assert prompt.shared_length(other.rows) == min(common(own, theirs), prompt.reusable_length)
    held: Sequence[str] = ()
    held_rows: Sequence[Row] = ()
    known = dict(zip(map(id, prompts), meanings, strict=True))
    for packed in pack(prompts, held_rows, context=40):
        first, *others = packed.suffixes
        assert first.base == min(common(known[id(first.prompt)], held), first.prompt.reusable_length)
        held, held_rows = known[id(first.prompt)], first.prompt.rows
        for suffix in others:
            assert suffix.base == min(common(known[id(suffix.prompt)], held), suffix.prompt.reusable_length)
        new = [row for suffix in packed.suffixes for row in suffix.prompt.rows[suffix.base :]]
        assert list(packed.new_rows().rows) == new


def test_rows_computed_with_the_expression_in_view_are_not_reused_for_another() -> None:
    """As in InstructSeg, where the visual rows of the object-aware perceiver depend on the expression."""

    def prompt(text: str) -> Prompt:
        perceiver = Slot.block(SlotKind.PERCEIVER, 8, (*IMAGE, text))
        answer = [Slot.text([7]), Slot.text([9], SlotKind.CONDITION), Slot.block(SlotKind.MASK_QUERIES, 3, LEARNED)]
        return Prompt((Slot.text([1]), Slot.block(SlotKind.IMAGE, 4, IMAGE), perceiver, *answer))

    first, second, again = prompt("the cup"), prompt("the spoon"), prompt("the cup")
    assert second.shared_length(first.rows) == 5 and again.shared_length(first.rows) == 14
    (packed,) = pack([second, first, again], first.rows, context=60)
    assert [suffix.base for suffix in packed.suffixes] == [5, 5, 5]  # all beside the second, which is read first
    (packed,) = pack([first, again], first.rows, context=60)
    assert [suffix.base for suffix in packed.suffixes] == [14, 14]


def written(layout: list[Written], text: str) -> Prompt:
    """A prompt of this layout that asks for `text`."""
    return Prompt(tuple(slot(what, number, text) for what, number in layout))


def slot(what: str, number: int, text: str) -> Slot:
    match what:
        case "token":
            return Slot.text([number])
        case "condition":
            return Slot.text([number], SlotKind.CONDITION)
        case "image":
            return Slot.block(SlotKind.IMAGE, number, IMAGE)
        case "image and expression":
            return Slot.block(SlotKind.PERCEIVER, number, (*IMAGE, text))
        case "image and another text":
            return Slot.block(SlotKind.PERCEIVER, number, (*IMAGE, "another"))
    return Slot.block(SlotKind.MASK_QUERIES, number, LEARNED)


def meaning(layout: list[Written], text: str) -> list[str]:
    """What fills each row, in words."""
    rows = []
    for what, number in layout:
        shown = f"{what} {text!r}" if what == "image and expression" else what.replace("condition", "token")
        rows += (
            [f"{shown} {number}"] if shown == "token" else [f"{shown} {index} of {number}" for index in range(number)]
        )
    return rows


def common(one: Sequence[str], other: Sequence[str]) -> int:
    """Leading rows of the same meaning."""
    for row, (mine, theirs) in enumerate(zip(one, other, strict=False)):
        if mine != theirs:
            return row
    return min(len(one), len(other))
