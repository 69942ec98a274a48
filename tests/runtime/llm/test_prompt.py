import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperseg_runtime.errors import PromptError
from hyperseg_runtime.llm.prompt import Prompt, Row, Slot, SlotKind, average_rows, pick_rows

PROMPT = Prompt(
    (
        Slot.text([4, 5, 6]),
        Slot(SlotKind.IMAGE, 10),
        Slot.text([7]),
        Slot.text([1, 2], SlotKind.CONDITION),
        Slot.text([8]),
        Slot.text([3], SlotKind.CONDITION),
        Slot(SlotKind.END, 1),
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


@settings(deadline=None, max_examples=50)
@given(spans=SPANS, seed=st.integers(0, 99))
def test_picking_is_indexing_and_averaging_is_the_mean(spans: list[range], seed: int) -> None:
    hidden = np.random.default_rng(seed).integers(-9, 9, (30, 4)).astype(np.float32)
    rows = [row for span in spans for row in span]
    picked, averaged = pick_rows(spans, 30), average_rows(spans, 30)
    assert picked.dtype == averaged.dtype == np.float32
    assert np.array_equal(picked @ hidden, hidden[rows].reshape(-1, 4))
    means = [hidden[span.start : span.stop].mean(0) for span in spans]
    assert np.allclose(averaged @ hidden, np.reshape(means, (-1, 4)), rtol=0, atol=MEAN)


MEAN = 1e-5
"""Sums of up to nine integers below ten, times a rounded float32 reciprocal."""


def test_rows_name_what_fills_them() -> None:
    image = [(SlotKind.IMAGE, index) for index in range(10)]
    assert PROMPT.rows == (4, 5, 6, *image, 7, 1, 2, 8, 3, (SlotKind.END, 0))


def test_rows_that_something_reads_are_not_reused() -> None:
    assert PROMPT.reusable_length == 14  # the first condition
    assert Prompt((Slot.text([1, 2, 3]),)).reusable_length == 2  # the newest token's hidden state is wanted
    queries = Prompt((Slot.text([1]), Slot(SlotKind.MASK_QUERIES, 4), Slot.text([2], SlotKind.CONDITION)))
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
    image = Slot(SlotKind.IMAGE, 2)
    with pytest.raises(PromptError, match="the prompt holds 2 images, the model reads one"):
        Prompt((image, Slot.text([1]), image)).check(context=19, token_rows=9)
