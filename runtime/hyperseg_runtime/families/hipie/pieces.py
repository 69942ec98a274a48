"""Token ids of a long text in pieces that the text encoder takes, and its states put together again (hipie-spec 5)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyperseg_runtime.errors import PromptError

PADDING, START, END, FULL_STOP = 0, 101, 102, 1012
"""Ids of BERT's uncased vocabulary."""


@dataclass(frozen=True)
class Pieces:
    """A batch for the text encoder.

    token_ids   (P, W) int64
    word_mask   (P, W) bool
    rows        for each piece the first of its states that is wanted, and how many are
    """

    token_ids: np.ndarray
    word_mask: np.ndarray
    rows: tuple[tuple[int, int], ...]

    def filled(self, words: int) -> "Pieces":
        """The same with padding up to so many words."""
        room = ((0, 0), (0, words - self.token_ids.shape[1]))
        ids = np.pad(self.token_ids, room, constant_values=PADDING)
        return Pieces(ids, np.pad(self.word_mask, room), self.rows)

    def joined(self, states: np.ndarray) -> np.ndarray:
        """States of the pieces (P, W, D) -> of the whole text (T, D)."""
        return np.concatenate([states[piece, first : first + count] for piece, (first, count) in enumerate(self.rows)])


def whole(ids: Sequence[int]) -> Pieces:
    """One piece that holds everything."""
    token_ids = np.array([ids], np.int64)
    return Pieces(token_ids, np.ones_like(token_ids, np.bool_), ((0, len(ids)),))


def in_pieces(ids: Sequence[int], words: int) -> Pieces:
    """As few pieces of `words` tokens as the rule makes; cuts lie behind full stops, which become the end of a text.

    Raises PromptError where a name is too long for a piece.
    """
    rest, parts = list(ids), []
    while rest:
        stops = [place for place, token in enumerate(rest[: words - 2]) if token in (FULL_STOP, END)]
        if not stops:
            raise PromptError(f"a name takes more than {words - 2} tokens; shorten it")
        parts.append([*rest[: stops[-1]], END])
        rest = rest[stops[-1] + 1 :]
    token_ids = np.full((len(parts), words), PADDING, np.int64)
    word_mask = np.zeros((len(parts), words), np.bool_)
    rows = []
    for piece, part in enumerate(parts):
        first = min(piece, 1)  # pieces after the first get a start of their own
        filled = [START] * first + part
        token_ids[piece, : len(filled)] = filled
        word_mask[piece, : len(filled)] = True
        if piece:
            token_ids[piece, len(filled)] = FULL_STOP
        rows.append((first, len(part)))
    return Pieces(token_ids, word_mask, tuple(rows))
