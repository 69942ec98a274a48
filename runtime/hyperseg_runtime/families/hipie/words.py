"""From a list of names, or an expression, to token ids, and which tokens are each name's (hipie-spec 4)."""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyperseg_runtime.errors import PromptError
from hyperseg_runtime.families.hipie.pieces import END, START, Pieces, in_pieces, whole
from hyperseg_runtime.llm.tokenizer import Tokenizer, require_text

SEPARATOR = ". "
MOST_WORDS = 8192
"""Tokens of a text: the longest that a released configuration reads."""

Spans = Sequence[tuple[int, tuple[int, int]]]


@dataclass(frozen=True)
class AskedText:
    """A text for the model.

    ids     token ids with start and end
    tokens  which of them are each name's, (K, T) bool; none for an expression
    """

    ids: tuple[int, ...]
    tokens: np.ndarray

    def pieces(self, words: int) -> Pieces:
        """For a text encoder that takes so many tokens at once."""
        return whole(self.ids) if len(self.ids) <= words else in_pieces(self.ids, words)


def cleaned(name: str) -> str:
    """A name as the release writes it: without what stands in brackets, one space for every two."""
    return re.sub(r"\(.*\)", "", name).replace("_", " ").replace("  ", " ")


def list_text(names: Sequence[str], tokenizer: Tokenizer) -> AskedText:
    """Raises PromptError for a list or a name without anything to look for, and for more text than is read.

    The release drops a name without a token and then takes each later class for another (hipie-spec 4.2).
    """
    if not names:
        raise PromptError("the class list is empty")
    clean = [cleaned(name) for name in names]
    prompt = SEPARATOR.join(clean)
    spans = _spans(prompt, tokenizer)
    tokens = np.zeros((len(names), len(spans) + 2), np.bool_)
    begin = 0
    for row, (name, text) in enumerate(zip(names, clean, strict=True)):
        first, last = _tokens_of(spans, begin, begin + len(text))
        if first is None or last is None:
            raise PromptError(f"class {row + 1} of {len(names)}, {name!r}, leaves no word to look for; rename it")
        tokens[row, first + 1 : last + 2] = True
        begin += len(text) + len(SEPARATOR)
    return AskedText(_closed(spans), tokens)


def expression_text(text: str, tokenizer: Tokenizer) -> AskedText:
    """Raises PromptError for an empty text and for more of it than is read."""
    require_text(text)
    spans = _spans(text, tokenizer)
    if not spans:
        raise PromptError(f"{text!r} holds no word to look for")
    return AskedText(_closed(spans), np.zeros((0, len(spans) + 2), np.bool_))


def _spans(text: str, tokenizer: Tokenizer) -> Spans:
    if text.strip():
        require_text(text)
    spans = tokenizer.encode_spans(text)
    if {START, END} & {token for token, _ in spans}:
        raise PromptError("the text holds [CLS] or [SEP], which the model reserves; leave it out")
    if len(spans) + 2 > MOST_WORDS:
        raise PromptError(f"the text takes {len(spans) + 2} tokens, at most {MOST_WORDS} are read; shorten the list")
    return spans


def _closed(spans: Spans) -> tuple[int, ...]:
    return (START, *(token for token, _ in spans), END)


def _tokens_of(spans: Spans, begin: int, end: int) -> tuple[int | None, int | None]:
    """First and last token of the characters [begin, end), looked for up to two characters further in.

    Not outside of them, unlike the release: a name of which no token is left would get its neighbours'.
    """
    head, tail = range(begin, min(begin + 3, end)), range(end - 1, max(end - 4, begin - 1), -1)
    first = next((token for place in head if (token := _at(spans, place)) is not None), None)
    last = next((token for place in tail if (token := _at(spans, place)) is not None), None)
    return first, last


def _at(spans: Spans, place: int) -> int | None:
    """The token that a character is part of."""
    index = bisect_right(spans, place, key=lambda span: span[1][0]) - 1
    return index if index >= 0 and place < spans[index][1][1] else None
