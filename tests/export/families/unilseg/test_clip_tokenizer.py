"""The vocabulary against what is published about CLIP's."""

from importlib.resources import files

from tokenizers import Tokenizer

from hyperseg_export.checkpoint.tokenizer_files import to_json
from hyperseg_export.families.unilseg import clip_tokenizer as module
from hyperseg_export.families.unilseg.clip_tokenizer import byte_symbols, clip_tokenizer


def test_ids_are_bytes_then_bytes_at_word_ends_then_merges() -> None:
    tokenizer = clip_tokenizer()
    assert tokenizer.get_vocab_size() == 49408
    known = {
        0: "!",
        255: "Ń",
        256: "!</w>",
        512: "in",
        49405: "jekyll</w>",
        49406: "<|startoftext|>",
        49407: "<|endoftext|>",
    }
    assert {token_id: tokenizer.id_to_token(token_id) for token_id in known} == known


def test_every_byte_has_its_own_printable_character() -> None:
    symbols = byte_symbols()
    assert len(set(symbols)) == 256 and all(symbol.isprintable() and symbol != " " for symbol in symbols)


def test_the_file_of_a_bundle_gives_the_same_ids() -> None:
    tokenizer = clip_tokenizer()
    stored = Tokenizer.from_str(to_json(tokenizer).decode())
    for text in ("a photo of a cat", "it's 2nd, isn't it?!", "café crème", "日本 👩"):
        assert stored.encode(text).ids == tokenizer.encode(text).ids != []


def test_the_licence_of_the_merges_lies_beside_them() -> None:
    assert "Copyright (c) 2021 OpenAI" in files(module.__package__).joinpath("CLIP_LICENSE").read_text()
