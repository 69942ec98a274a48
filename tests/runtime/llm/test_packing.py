"""Packed prompts against each prompt alone: who sees whom, where everything lies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperseg_runtime.llm import prompt as prompts
from hyperseg_runtime.llm.packing import PackedPrompts, pack
from hyperseg_runtime.llm.prompt import LEARNED, Prompt, Row, Slot, SlotKind

CONTEXT = 40
IMAGE = Slot.block(SlotKind.IMAGE, 5, prompts.IMAGE)
QUERIES = Slot.block(SlotKind.MASK_QUERIES, 2, LEARNED)


def prompt(text: list[int], condition: list[int]) -> Prompt:
    return Prompt((Slot.text([1, 2]), IMAGE, Slot.text(text), Slot.text(condition, SlotKind.CONDITION), QUERIES))


WORDS = st.lists(st.integers(3, 5), min_size=1, max_size=6)
PROMPTS = st.lists(st.builds(prompt, WORDS, WORDS), min_size=1, max_size=6)


@settings(deadline=None, max_examples=200)
@given(prompts=PROMPTS, held=st.one_of(st.just(()), st.builds(prompt, WORDS, WORDS).map(lambda p: p.rows)))
def test_every_row_sees_what_it_would_see_alone(prompts: list[Prompt], held: tuple[Row, ...]) -> None:
    """The cache is played: each slot holds the row, the position and the whole past of what was written."""
    cache: list[tuple[Row, ...] | None] = [held[: row + 1] for row in range(len(held))]
    cache += [None] * (CONTEXT - len(held))
    read: list[Prompt] = []
    for packed in pack(prompts, held, CONTEXT):
        rows, positions, mask = packed.new_rows().rows, packed.position_ids()[0], seen_slots(packed, CONTEXT)
        assert len(rows) == packed.tokens == len(positions) == len(mask) and packed.last_slot <= CONTEXT
        for index, row in enumerate(rows):  # a call writes all its rows, then attends
            past = pasts(packed)[index]
            assert past[-1] == row and len(past) == positions[index] + 1
            cache[packed.first_slot + index] = past
        for index in range(len(rows)):
            seen = [cache[slot] for slot in np.flatnonzero(mask[index])]
            past = pasts(packed)[index]
            assert seen == [past[: length + 1] for length in range(len(past))]
        for number, suffix in enumerate(packed.suffixes):
            read.append(suffix.prompt)
            first = packed.hidden_row(number)
            for span in (*suffix.prompt.spans(SlotKind.CONDITION), *suffix.prompt.spans(SlotKind.MASK_QUERIES)):
                assert rows[first + span.start : first + span.stop] == suffix.prompt.rows[span.start : span.stop]
            assert rows[first + suffix.prompt.length - 1] == suffix.prompt.rows[-1]
        held = packed.suffixes[0].prompt.rows
    assert read == prompts


def seen_slots(packed: PackedPrompts, context: int) -> np.ndarray:
    """(rows, context) bool, from the ranges of each row."""
    starts, ends = packed.attended_slots()[0, ..., None].transpose(2, 0, 1, 3)
    slots = np.arange(context)
    seen: np.ndarray = ((slots >= starts) & (slots < ends)).any(1)
    return seen


def pasts(packed: PackedPrompts) -> list[tuple[Row, ...]]:
    """For every row of the call, its own prompt up to it."""
    return [s.prompt.rows[: row + 1] for s in packed.suffixes for row in range(s.base, s.prompt.length)]


def test_a_second_prompt_brings_only_what_differs() -> None:
    first, second = prompt([3], [4, 5]), prompt([3], [5])
    (packed,) = pack([second], first.rows, CONTEXT)
    assert (packed.first_slot, packed.tokens) == (8, 3) and packed.new_rows().rows == second.rows[8:]


def test_prompts_go_together_until_the_context_is_full() -> None:
    prompts = [prompt([3], [4, 5])] * 4  # 12 rows each, 4 of its own
    assert [len(packed.suffixes) for packed in pack(prompts, (), CONTEXT)] == [4]
    assert [len(packed.suffixes) for packed in pack(prompts, (), 23)] == [3, 1]
    assert [len(packed.suffixes) for packed in pack(prompts, (), 12)] == [1, 1, 1, 1]
    assert list(pack([], (), CONTEXT)) == []


@pytest.mark.parametrize("context", [12, 16, 40])
def test_a_plain_prompt_sees_what_stands_before(context: int) -> None:
    (packed,) = pack([prompt([3], [4, 5])], (), context)
    assert np.array_equal(seen_slots(packed, context), np.tri(12, context, dtype=bool))


def test_slots_in_use_are_counted_in_steps_up_to_the_end() -> None:
    (packed,) = pack([prompt([3], [4, 5])], (), 40)
    assert [packed.slots(step, 40) for step in (1, 5, 16, 64)] == [12, 15, 16, 40]


@given(st.integers(1, 9), st.integers(1, 8), st.integers(0, 30))
def test_padding_fills_a_call_up_and_is_seen_by_nobody(words: int, step: int, more: int) -> None:
    first, second = prompt([3], [4] * words), prompt([3], [5] * words)
    context = first.length + more
    for held in ((), first.rows):
        (packed,) = pack([second], held, context)
        padded = packed.padded(step, context)
        room = context - packed.first_slot
        assert padded.rows == min(-(-packed.tokens // step) * step, room) and padded.tokens == packed.tokens
        assert padded.new_rows() == packed.new_rows()
        mask, positions = seen_slots(padded, context), padded.position_ids()[0]
        assert mask.shape == (padded.rows, context) and positions.shape == (padded.rows,)
        assert np.array_equal(mask[: packed.tokens], seen_slots(packed, context))
        assert np.array_equal(positions[: packed.tokens], packed.position_ids()[0])
        assert not mask[: packed.tokens, packed.last_slot :].any() and mask[:, 0].all()


def test_a_single_token_stays_alone() -> None:
    first = Prompt((Slot.text([1, 2]), IMAGE, Slot.text([3])))
    longer = Prompt((*first.slots, Slot.text([6])))
    (packed,) = pack([longer], first.rows, CONTEXT)
    assert packed.tokens == packed.padded(8, CONTEXT).rows == 1
