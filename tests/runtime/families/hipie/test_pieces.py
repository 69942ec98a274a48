"""Long texts are cut behind full stops and put together again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperseg_runtime.errors import PromptError
from hyperseg_runtime.families.hipie.pieces import END, FULL_STOP, PADDING, START, in_pieces, whole

NAMES = st.lists(st.lists(st.integers(2000, 2999), min_size=1, max_size=5), min_size=1, max_size=40)


def text_of(names: list[list[int]]) -> list[int]:
    body = [token for name in names for token in (*name, FULL_STOP)][:-1]
    return [START, *body, END]


@given(NAMES)
def test_every_token_is_read_once_and_in_its_place(names: list[list[int]]) -> None:
    ids = text_of(names)
    pieces = in_pieces(ids, 16)
    states = pieces.token_ids[..., None].astype(np.float32)
    joined = pieces.joined(states)[:, 0].astype(int).tolist()
    assert len(joined) == len(ids)
    # The full stop that a piece ends with is read as the end of a text.
    assert all(
        found == wanted or (found, wanted) == (END, FULL_STOP) for found, wanted in zip(joined, ids, strict=True)
    )
    assert joined[-1] == END


@given(NAMES)
def test_every_piece_is_a_text(names: list[list[int]]) -> None:
    pieces = in_pieces(text_of(names), 16)
    for ids, mask in zip(pieces.token_ids, pieces.word_mask, strict=True):
        real = ids[mask]
        assert real[0] == START and real[-1] == END
        assert set(ids[~mask].tolist()) <= {PADDING, FULL_STOP}
        assert mask[: len(real)].all()


def test_a_name_longer_than_a_piece_is_refused() -> None:
    with pytest.raises(PromptError, match="a name takes more than 14 tokens; shorten it"):
        in_pieces(text_of([[2000] * 20]), 16)


def test_a_short_text_is_one_piece() -> None:
    pieces = whole([START, 2000, END])
    assert pieces.word_mask.all()
    assert pieces.joined(np.ones((1, 3, 5), np.float32)).shape == (3, 5)
