"""A text answer while it is being made."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from typing import Self

from hyperseg_runtime.llm.tokenizer import Tokenizer

Guard = Callable[[], AbstractContextManager[object]]


class Finish(StrEnum):
    """Why an answer ended."""

    END_OF_TEXT = "end of text"
    LENGTH = "length"


class Answer(Iterator[str]):
    """Iterate for pieces of text as tokens come; afterwards `text`, `token_ids` and `finish` are complete.

    `tokens` yields ids and stops after end-of-text (which belongs to the ids, not to the text) or at a limit. It may
    add to `details`, numbers that go with the answer as with a result: `prompt_tokens`, and how many of them were read
    before (`reused_tokens`, known with the first token).
    """

    def __init__(
        self, tokens: Iterator[int], tokenizer: Tokenizer, eos_token_id: int, details: dict[str, int] | None = None
    ) -> None:
        self.details = details if details is not None else {}
        self.token_ids: list[int] = []
        self._text = ""
        self.finish: Finish | None = None
        self._tokens = tokens
        self._pieces = tokenizer.stream()
        self._eos = eos_token_id
        self._guard: Guard = nullcontext
        self._failure: BaseException | None = None

    def guarded(self, guard: Guard) -> Self:
        """Enter `guard()` around the work of every token. Returns itself."""
        self._guard = guard
        return self

    @property
    def text(self) -> str:
        """The text so far, without white space around it."""
        return self._text.strip()

    def __next__(self) -> str:
        """One token's text; empty inside a character of several tokens."""
        if self.finish:
            raise StopIteration
        if self._failure:
            raise self._failure  # the tokens end here, the answer does not
        try:
            with self._guard():
                token_id = next(self._tokens, None)
        except BaseException as error:
            self._failure = error
            raise
        if token_id is None or token_id == self._eos:
            self.finish = Finish.LENGTH if token_id is None else Finish.END_OF_TEXT
            self.token_ids += [] if token_id is None else [token_id]
            raise StopIteration
        self.token_ids.append(token_id)
        piece = self._pieces(token_id)
        self._text += piece
        return piece

    def finished(self) -> Self:
        """Run to the end. Returns itself."""
        for _ in self:
            pass
        return self


def as_shown(pieces: Iterable[str]) -> Iterator[str]:
    """The pieces of an answer for people: without the white space that a first word begins with."""
    started = False
    for piece in pieces:
        shown = piece if started else piece.lstrip()
        started = started or bool(shown)
        yield shown
