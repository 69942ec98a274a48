"""The tokenizer of made checkpoints, which knows the words of the prompts, and bytes."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from hyperseg_export.families.mask_queries.made_files import write_json

END_OF_TEXT, SEG = "<|endoftext|>", "[SEG]"
MERGED_TOKENS = 144
BASE_TOKENS = 256 + MERGED_TOKENS
SPACE_RUNS, TAB_RUNS = range(31, 1, -1), range(9, 1, -1)
TOKEN_ROWS = BASE_TOKENS + 1 + len(SPACE_RUNS) + len(TAB_RUNS) + 1
"""All tokens that `write_tokenizer` makes of `BASE_TOKENS`."""


def write_tokenizer(
    directory: Path, max_length: int, texts: Iterable[str], most_tokens: int, special: Sequence[str] = (SEG,)
) -> int:
    """vocab.json, merges.txt and added tokens in the layout of the CodeGen tokenizer. Returns the number of all tokens.

    `special` are those that training added, last. Merges are learned from `texts` until there are `most_tokens` before
    the added ones, or nothing is left to merge.
    """
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=most_tokens, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.model.save(str(directory))
    base = tokenizer.get_vocab_size()
    contents = [END_OF_TEXT, *(" " * n for n in SPACE_RUNS), *("\t" * n for n in TAB_RUNS), *special]
    added = {content: base + index for index, content in enumerate(contents)}
    write_json(directory / "added_tokens.json", added)
    decoder = {
        str(token_id): {
            "content": content,
            "lstrip": False,
            "normalized": content != END_OF_TEXT,
            "rstrip": False,
            "single_word": False,
            "special": content == END_OF_TEXT,
        }
        for content, token_id in added.items()
    }
    roles = {f"{role}_token": END_OF_TEXT for role in ("bos", "eos", "pad", "unk")}
    config = {"tokenizer_class": "CodeGenTokenizer", "model_max_length": max_length, **roles}
    write_json(
        directory / "tokenizer_config.json",
        {"add_bos_token": False, "add_prefix_space": False, "added_tokens_decoder": decoder, **config},
    )
    write_json(directory / "special_tokens_map.json", roles)
    return base + len(contents)
