"""The tokenizer that is made here, against transformers' own code on the same vocabulary."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertTokenizer

from hyperseg_export.families.hipie.bert_tokenizer import bert_tokenizer

TOKENIZER = bert_tokenizer()


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> BertTokenizer:
    path: Path = tmp_path_factory.mktemp("bert") / "vocab.txt"
    vocabulary = sorted(TOKENIZER.get_vocab().items(), key=lambda entry: entry[1])
    path.write_text("".join(f"{token}\n" for token, _ in vocabulary), encoding="utf-8")
    return BertTokenizer(str(path))


def test_the_vocabulary_is_the_published_one() -> None:
    assert TOKENIZER.get_vocab_size() == 30522
    ids = [TOKENIZER.token_to_id(token) for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "person")]
    assert ids == [0, 100, 101, 102, 103, 1012, 2711]


@settings(deadline=None, max_examples=100)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=40))
def test_any_text_is_cut_up_as_the_library_does(oracle: BertTokenizer, text: str) -> None:
    if not any(special in text for special in ("[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]")):
        assert TOKENIZER.encode(text).ids == oracle.encode(text, add_special_tokens=False)
