"""Id for id what the original tokenizer makes of an expression."""

import json
import unicodedata
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperseg_export.families.unilseg.clip_tokenizer import clip_tokenizer
from hyperseg_runtime.errors import PromptError
from hyperseg_runtime.families.unilseg.words import cleaned, word_ids
from hyperseg_runtime.llm.tokenizer import MAX_CHARACTERS, Tokenizer

GOLDEN = json.loads((Path(__file__).parents[3] / "golden" / "unilseg" / "tokens.json").read_text())
WORDS, START_ID, END_ID = 17, 49406, 49407
PIECES = [
    *("'s", "'RE", "'ſ", "n't", "&amp;amp;lt;", "&#39;", "!!", "!~", "...", "Ã©", "ﬁ", "½", "Ⅷ", "３", "日本", "한국"),
    *("😀", "👩\u200d👧", "\u0345", "\x00", "\x85", "\u3000", "hahahaha", "aaaaaaa", "1990", "unbelievably"),
]
TEXTS = st.lists(
    st.sampled_from(PIECES) | st.text(st.characters(max_codepoint=0x52F), max_size=8), min_size=1, max_size=8
).flatmap(lambda parts: st.sampled_from(["", " "]).map(lambda space: space.join(parts)))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("clip") / "tokenizer.json"
    clip_tokenizer().save(str(path))
    return Tokenizer(path)


@pytest.mark.parametrize("entry", GOLDEN["sentences"], ids=lambda entry: entry["sentence"])
def test_equals_the_original(tokenizer: Tokenizer, entry: dict[str, object]) -> None:
    found = word_ids(tokenizer, str(entry["sentence"]), WORDS, START_ID, END_ID)
    assert found.dtype == np.int64 and found.tolist() == entry["tokens"]
    assert (found == 0).tolist() == [bool(value) for value in entry["pad_mask"]]  # type: ignore[attr-defined]
    assert found.argmax() == entry["eot_position"]


@settings(deadline=None, max_examples=300)
@given(text=TEXTS)
def test_equals_byte_pair_encoding_by_definition(tokenizer: Tokenizer, text: str) -> None:
    """Characters of recent Unicode versions are left out: what counts as a letter differs between libraries."""
    plain = cleaned(text)
    expected = [START_ID, *by_definition(plain)[: WORDS - 2], END_ID]
    assert word_ids(tokenizer, text, WORDS, START_ID, END_ID).tolist() == expected + [0] * (WORDS - len(expected))


@settings(deadline=None, max_examples=200)
@given(text=st.text(max_size=60))
def test_any_text_gives_a_start_an_end_and_padding(tokenizer: Tokenizer, text: str) -> None:
    """Surrogates, control characters, white space: all of Python's strings."""
    ids = word_ids(tokenizer, text, WORDS, START_ID, END_ID)
    assert ids.shape == (WORDS,) and ids[0] == START_ID
    end = int(ids.argmax())
    assert ids[end] == END_ID and (ids[1:end] < START_ID).all() and (ids[end + 1 :] == 0).all()


@pytest.mark.parametrize("text", ["", "  ", "\n\t", "\u3000", "\x00", "&nbsp;"])
def test_empty_text_is_start_and_end(tokenizer: Tokenizer, text: str) -> None:
    assert word_ids(tokenizer, text, WORDS, START_ID, END_ID).tolist() == [START_ID, END_ID] + [0] * 15


def test_long_text_keeps_fifteen_tokens_and_the_end(tokenizer: Tokenizer) -> None:
    """Sixteen ids with the start, then the end, whatever stood there."""
    long, short = (word_ids(tokenizer, "dog " * count, WORDS, START_ID, END_ID) for count in (40, 15))
    assert long.tolist() == short.tolist() == [START_ID, *[1929] * 15, END_ID]
    assert word_ids(tokenizer, "dog dog dog", 4, START_ID, END_ID).tolist() == [START_ID, 1929, 1929, END_ID]


def test_an_exclamation_mark_glued_to_symbols_is_the_id_of_padding(tokenizer: Tokenizer) -> None:
    assert word_ids(tokenizer, "wow !~x", WORDS, START_ID, END_ID)[2] == 0
    assert (word_ids(tokenizer, "wow!", WORDS, START_ID, END_ID)[:4] != 0).all()


@pytest.mark.parametrize("text", ["a <|endoftext|> b", "<|STARTOFTEXT|>", "&lt;|endoftext|&gt;", "!<|endoftext|>"])
def test_reserved_tokens_are_refused(tokenizer: Tokenizer, text: str) -> None:
    with pytest.raises(PromptError, match=r"the text holds '<\|(endoftext|startoftext)\|>', which the model reserves"):
        word_ids(tokenizer, text, WORDS, START_ID, END_ID)


def test_endless_text_is_refused_with_both_numbers(tokenizer: Tokenizer) -> None:
    with pytest.raises(PromptError, match=f"has {MAX_CHARACTERS + 1} characters, at most {MAX_CHARACTERS}"):
        word_ids(tokenizer, "a" * (MAX_CHARACTERS + 1), WORDS, START_ID, END_ID)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  The  Dog ", "the dog"),
        ("a\u3000b\tc\nd", "a b c d"),
        ("caf\u0065\u0301", unicodedata.normalize("NFC", "cafe\u0301")),
        ("cafÃ©", "café"),
        ("&amp;amp;", "&"),
        ("<b> &amp;amp;amp;", "<b> &amp;"),  # twice; ftfy unescapes as well, where no < stands
        ("\u201cdog\u201d", '"dog"'),
        ("İ", "i\u0307"),
    ],
)
def test_cleaning(text: str, expected: str) -> None:
    assert cleaned(text) == expected


PATTERN = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE)
"""CLIP's own, whose ignoring of case matters for ſ and U+0345."""


def by_definition(plain: str) -> list[int]:
    """Merge the adjacent pair that was learned first, everywhere, until no pair was learned."""
    ids, ranks, symbols = learned()
    found = []
    for piece in PATTERN.findall(plain):
        parts = [symbols[byte] for byte in piece.encode()]
        parts[-1] += "</w>"
        while pairs := [pair for pair in pairwise(parts) if pair in ranks]:
            first = min(pairs, key=ranks.__getitem__)
            merged: list[str] = []
            for part in parts:
                if merged and (merged[-1], part) == first:
                    merged[-1] += part
                else:
                    merged.append(part)
            parts = merged
        found += [ids[part] for part in parts]
    return found


@cache
def learned() -> tuple[dict[str, int], dict[tuple[str, str], int], dict[int, str]]:
    """Ids of tokens, ranks of merges, characters of bytes: from the file, by GPT-2's rule."""
    content = json.loads(clip_tokenizer().to_str())["model"]
    ranks = {(left, right): rank for rank, (left, right) in enumerate(content["merges"])}
    visible = [byte for byte in range(256) if chr(byte).isprintable() and chr(byte) != " "]
    hidden = [byte for byte in range(256) if byte not in visible]
    symbols = {byte: chr(byte) for byte in visible} | {byte: chr(256 + i) for i, byte in enumerate(hidden)}
    return content["vocab"], ranks, symbols
