"""Names and expressions as token ids, against ids of the original code."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from hyperseg_export.checkpoint.tokenizer_files import to_json
from hyperseg_export.families.hipie.bert_tokenizer import bert_tokenizer
from hyperseg_runtime.errors import PromptError
from hyperseg_runtime.families.hipie.words import MOST_WORDS, AskedText, cleaned, expression_text, list_text
from hyperseg_runtime.llm.tokenizer import TOKENIZER_FILE, Tokenizer

GOLDEN = Path(__file__).parents[3] / "golden" / "hipie"


@cache
def prompts() -> dict[str, Any]:
    stored: dict[str, Any] = json.loads((GOLDEN / "prompts.json").read_text(encoding="utf-8"))
    return stored


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("bert") / TOKENIZER_FILE
    path.write_bytes(to_json(bert_tokenizer()))
    return Tokenizer(path)


def positive_map(text: AskedText) -> dict[str, list[int]]:
    return {str(number): own.nonzero()[0].tolist() for number, own in enumerate(text.tokens, 1)}


def test_names_are_cleaned() -> None:
    assert {name: cleaned(name) for name in prompts()["clean_name"]} == prompts()["clean_name"]


@pytest.mark.parametrize("case", ["coco_panoptic", "custom", "pascal_parts_pano", "things_only_flag"])
def test_ids_and_tokens_of_lists(case: str, tokenizer: Tokenizer) -> None:
    """COCO's 133 names and 200 names of parts among them."""
    expected = prompts()[case]
    found = list_text(expected["names"], tokenizer)
    assert list(found.ids) == expected["input_ids"]
    assert positive_map(found) == expected["positive_map"]
    assert len(found.ids) == expected["tokens"]


def test_names_that_are_no_plain_words(tokenizer: Tokenizer) -> None:
    """Brackets, accents, other scripts, full stops and spaces in names."""
    *names, last = prompts()["odd_names"]["names"]
    assert positive_map(list_text(names, tokenizer)) == prompts()["odd_names"]["positive_map"]
    assert last == "(gone)"


def test_ids_of_expressions(tokenizer: Tokenizer) -> None:
    for stored in prompts()["expressions"]:
        assert list(expression_text(stored["text"], tokenizer).ids) == stored["input_ids"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "the class list is empty"),
        (["dog", "(gone)"], r"class 2 of 2, '\(gone\)', leaves no word to look for; rename it"),
        (["_", "dog"], "class 1 of 2, '_', leaves no word"),
        (["cup", "(gone)", "wall"], r"class 2 of 3, '\(gone\)', leaves no word"),
        (["cup", "\u200b", "wall"], r"class 2 of 3, '\\u200b', leaves no word to look for; rename it"),
        (["cup", "\ufeff", "wall"], r"class 2 of 3, '\\ufeff', leaves no word"),
        (["dog [SEP] cat"], r"the text holds \[CLS\] or \[SEP\], which the model reserves"),
        (["a"] * 4200, f"at most {MOST_WORDS} are read; shorten the list"),
    ],
)
def test_lists_that_cannot_be_asked(names: list[str], message: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(PromptError, match=message):
        list_text(names, tokenizer)


@pytest.mark.parametrize("text", ["", "  ", "\u200b"])
def test_expressions_that_cannot_be_asked(text: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(PromptError, match=r"empty|no word"):
        expression_text(text, tokenizer)


def test_long_lists_are_read_in_pieces(tokenizer: Tokenizer) -> None:
    """200 names of parts take 578 tokens, two pieces (hipie-spec 4.6)."""
    text = list_text(prompts()["pascal_parts_pano"]["names"], tokenizer)
    assert len(text.ids) == 578
    assert text.pieces(512).token_ids.shape == (2, 512)
    assert list_text(prompts()["coco_panoptic"]["names"], tokenizer).pieces(512).token_ids.shape == (1, 309)
