from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperseg_runtime.errors import BundleError, PromptError
from hyperseg_runtime.llm import tokenizer
from hyperseg_runtime.llm.tokenizer import MAX_CHARACTERS, Tokenizer

RESERVED = (50295, 50256)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("This is an image ", [1212, 318, 281, 2939, 220]),
        ("\n", [198]),
        ("ASSISTANT:", [10705, 8808, 8643, 25]),
        ("the object that can cut paper", [1169, 2134, 326, 460, 2005, 3348]),
        ("a  b", [64, 50286, 65]),  # a run of two spaces is one token
        ("\t\t", [50294]),
        ("[SEG]", [50295]),
        ("<|endoftext|>", [50256]),
        ("", []),
    ],
)
def test_known_ids(real_tokenizer: Tokenizer, text: str, ids: list[int]) -> None:
    assert real_tokenizer.encode(text) == ids


@settings(deadline=None, max_examples=100)
@given(text=st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_text_comes_back_from_its_ids(real_tokenizer: Tokenizer, text: str) -> None:
    ids = real_tokenizer.encode(text)
    assert all(0 <= token_id <= 50295 for token_id in ids)
    assert real_tokenizer.decode(ids) == text


@settings(deadline=None, max_examples=100)
@given(text=st.text(max_size=40))
def test_any_user_text_gives_ids_or_a_prompt_error(real_tokenizer: Tokenizer, text: str) -> None:
    """Surrogates, control characters, white space: all of Python's strings."""
    try:
        ids = real_tokenizer.encode_user_text(text, RESERVED)
    except PromptError as error:
        assert str(error)
    else:
        assert ids and not set(ids) & set(RESERVED)


@pytest.mark.parametrize("text", ["", " ", "\n\t ", "\u3000"])
def test_empty_text_gets_an_example(real_tokenizer: Tokenizer, text: str) -> None:
    with pytest.raises(PromptError, match="the text is empty; say what to look for, for example"):
        real_tokenizer.encode_user_text(text, RESERVED)


@pytest.mark.parametrize("text", ["[SEG]", "the cup [SEG]", "a[SEG]b", "x <|endoftext|>"])
def test_reserved_tokens_are_named(real_tokenizer: Tokenizer, text: str) -> None:
    token = "[SEG]" if "[SEG]" in text else "<|endoftext|>"
    with pytest.raises(PromptError) as caught:
        real_tokenizer.encode_user_text(text, RESERVED)
    assert str(caught.value) == f"the text holds {token!r}, which the model reserves; leave it out"


@pytest.mark.parametrize("text", ["[ SEG ]", "SEG", "[seg]", "<image>", "<endoftext>", "[MASK]"])
def test_what_only_looks_reserved_is_plain_text(real_tokenizer: Tokenizer, text: str) -> None:
    assert real_tokenizer.decode(real_tokenizer.encode_user_text(text, RESERVED)) == text


@pytest.mark.parametrize("text", ["\ud800", "a cup \udcff"])
def test_lone_surrogates_are_refused(real_tokenizer: Tokenizer, text: str) -> None:
    with pytest.raises(PromptError, match="not valid Unicode"):
        real_tokenizer.encode_user_text(text, RESERVED)


def test_endless_text_is_refused_with_both_numbers(real_tokenizer: Tokenizer) -> None:
    with pytest.raises(PromptError, match=f"has {MAX_CHARACTERS + 1} characters, at most {MAX_CHARACTERS}"):
        real_tokenizer.encode_user_text("a" * (MAX_CHARACTERS + 1), RESERVED)
    assert real_tokenizer.encode_user_text("a" * MAX_CHARACTERS, RESERVED)


@pytest.mark.parametrize("content", [b"", b"{}", b"not json", b"\xff\xfe", b'{"model": {"type": "BPE"}}', b"[1]"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"^tokenizer\.json: not a tokenizer file: "):
        Tokenizer(tmp_path / "tokenizer.json")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"^tokenizer\.json: "):
        Tokenizer(tmp_path / "tokenizer.json")


def test_memory_that_runs_out_is_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        @staticmethod
        def from_file(path: str) -> None:
            raise MemoryError

    monkeypatch.setattr(tokenizer, "FastTokenizer", Full)
    with pytest.raises(MemoryError):
        Tokenizer(tmp_path / "tokenizer.json")
