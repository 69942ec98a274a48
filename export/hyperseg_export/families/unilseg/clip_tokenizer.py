"""CLIP's byte-pair encoding, which a UniLSeg checkpoint needs and does not carry (unilseg-spec 4).

`clip_merges.txt.gz` holds the 48,894 merges of OpenAI's CLIP that its 49,408 ids are made of (MIT licence, see
CLIP_LICENSE beside it): the first part of its `bpe_simple_vocab_16e6.txt.gz`, without the heading.
"""

import gzip
from importlib.resources import files

from tokenizers import AddedToken, Regex, Tokenizer, pre_tokenizers
from tokenizers.models import BPE

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
PIECES = r"'[sſ]|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}\x{0345}]+"
"""English contractions, runs of letters, single digits, runs of other symbols. CLIP's pattern ignores
case: ſ is an s to it, and U+0345, whose upper case is a letter, is neither a letter nor a symbol and falls out.
Everything else arrives in lower case."""


def clip_tokenizer() -> Tokenizer:
    """The tokenizer of CLIP for text that was cleaned already (`hyperseg_runtime.families.unilseg.words`)."""
    merges = _merges()
    symbols = byte_symbols()
    vocabulary = [*symbols, *(symbol + WORD_END for symbol in symbols), *("".join(merge) for merge in merges)]
    vocabulary += [START, END]
    tokenizer = Tokenizer(BPE({token: i for i, token in enumerate(vocabulary)}, merges, end_of_word_suffix=WORD_END))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in (START, END)])
    return tokenizer


def byte_symbols() -> list[str]:
    """The printable characters that stand for bytes, in the order of their ids: visible bytes first."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(byte) for byte in visible] + [chr(256 + i) for i in range(256 - len(visible))]


def _merges() -> list[tuple[str, str]]:
    content = gzip.decompress(files(__package__).joinpath("clip_merges.txt.gz").read_bytes()).decode()
    return [(left, right) for left, right in (line.split(" ") for line in content.splitlines())]
