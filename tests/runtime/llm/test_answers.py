"""Text that appears token by token."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperseg_runtime.llm.answers import Answer, Finish, as_shown
from hyperseg_runtime.llm.tokenizer import Tokenizer

END = 50256


@settings(deadline=None, max_examples=100)
@given(text=st.text(max_size=40))
def test_pieces_are_the_text(real_tokenizer: Tokenizer, text: str) -> None:
    ids = [token_id for token_id in real_tokenizer.encode(text) if token_id != END]
    answer = Answer(iter([*ids, END]), real_tokenizer, END)
    assert "".join(answer) == real_tokenizer.decode(ids)
    assert answer.text == real_tokenizer.decode(ids).strip()
    assert (answer.token_ids, answer.finish) == ([*ids, END], Finish.END_OF_TEXT)


@settings(deadline=None, max_examples=100)
@given(ids=st.lists(st.one_of(st.integers(0, 255), st.integers(0, 50255)), max_size=30))
def test_broken_characters_do_not_break_the_answer(real_tokenizer: Tokenizer, ids: list[int]) -> None:
    """A model may stop in the middle of a character."""
    answer = Answer(iter(ids), real_tokenizer, END)
    assert real_tokenizer.decode(ids).startswith("".join(answer))
    assert (answer.token_ids, answer.finish) == (ids, Finish.LENGTH)


def test_a_character_of_several_tokens_appears_whole(real_tokenizer: Tokenizer) -> None:
    ids = real_tokenizer.encode("☕")
    assert len(ids) > 1 and list(Answer(iter(ids), real_tokenizer, END)) == [""] * (len(ids) - 1) + ["☕"]


def test_nothing_is_computed_before_it_is_asked_for(real_tokenizer: Tokenizer) -> None:
    computed: list[int] = []

    def tokens() -> Iterator[int]:
        for token_id in real_tokenizer.encode("a cup of tea"):
            computed.append(token_id)
            yield token_id

    answer = Answer(tokens(), real_tokenizer, END)
    assert not computed and answer.finish is None
    assert next(answer) == "a" and len(computed) == 1
    assert answer.finished() is answer and answer.text == "a cup of tea"
    with pytest.raises(StopIteration):
        next(answer)


def test_an_answer_that_failed_is_not_complete(real_tokenizer: Tokenizer) -> None:
    def tokens() -> Iterator[int]:
        yield 64
        raise KeyboardInterrupt

    answer = Answer(tokens(), real_tokenizer, END)
    next(answer)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            next(answer)
    assert answer.finish is None and answer.token_ids == [64]


def test_the_guard_is_held_for_each_token_only(real_tokenizer: Tokenizer) -> None:
    events: list[str] = []

    @contextmanager
    def guard() -> Iterator[None]:
        events.append("in")
        yield
        events.append("out")

    for piece in Answer(iter(real_tokenizer.encode("a cup")), real_tokenizer, END).guarded(guard):
        events.append(piece)
    assert events == ["in", "out", "a", "in", "out", " cup", "in", "out"]


def test_people_see_no_space_before_the_first_word() -> None:
    assert list(as_shown(["", " ", " a", " cup", ""])) == ["", "", "a", " cup", ""]
