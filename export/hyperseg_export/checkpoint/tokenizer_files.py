"""The tokenizer of a checkpoint, whichever files it comes in, as one tokenizer.json."""

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from hyperseg_export.checkpoint.folder import read_json
from hyperseg_runtime.errors import CheckpointError

FAST = "tokenizer.json"
VOCABULARY, MERGES = "vocab.json", "merges.txt"
ADDED, CONFIG = "added_tokens.json", "tokenizer_config.json"


def load_tokenizer(directory: Path) -> Tokenizer:
    """The byte-level BPE tokenizer of a checkpoint folder.

    Read from tokenizer.json, or from vocab.json and merges.txt with the added tokens of
    tokenizer_config.json or added_tokens.json. Raises CheckpointError when neither is there.
    """
    if (directory / FAST).is_file():
        try:
            stored = Tokenizer.from_file(str(directory / FAST))
        except Exception as error:  # the library raises plain Exception
            raise CheckpointError(f"checkpoint {directory}: {FAST} cannot be read: {error}") from error
        stored.no_truncation()  # settings of whoever saved it last; they would cut prompts
        stored.no_padding()
        return stored
    absent = [name for name in (VOCABULARY, MERGES) if not (directory / name).is_file()]
    if absent:
        raise CheckpointError(
            f"checkpoint {directory}: the tokenizer is missing: expected {FAST}, or {VOCABULARY} and {MERGES}; "
            f"{' and '.join(absent)} not found"
        )
    try:
        tokenizer = Tokenizer(BPE.from_file(str(directory / VOCABULARY), str(directory / MERGES)))
    except Exception as error:
        raise CheckpointError(f"checkpoint {directory}: {VOCABULARY} or {MERGES} is damaged: {error}") from error
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    for token_id, token in sorted(_added_tokens(directory).items()):
        tokenizer.add_tokens([token])
        if tokenizer.token_to_id(token.content) != token_id:
            raise CheckpointError(
                f"checkpoint {directory}: token {token.content!r} should get id {token_id}, "
                f"gets {tokenizer.token_to_id(token.content)}; an added token before it is missing"
            )
    return tokenizer


def special_id(tokenizer: Tokenizer, token: str, directory: Path) -> int:
    """Id of a token the model needs; CheckpointError if the tokenizer lacks it."""
    token_id = tokenizer.token_to_id(token)
    if token_id is None:
        raise CheckpointError(f"checkpoint {directory}: the tokenizer has no token {token!r}, which the model needs")
    return int(token_id)


def _added_tokens(directory: Path) -> dict[int, AddedToken]:
    """id -> token. tokenizer_config.json knows more than added_tokens.json and wins."""
    found: dict[int, AddedToken] = {}
    for file, read in ((ADDED, _plain_tokens), (CONFIG, _described_tokens)):
        if (directory / file).is_file():
            try:
                found.update(read(read_json(directory / file)))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise CheckpointError(f"checkpoint {directory}: {file} has a damaged added token: {error!r}") from error
    return found


def _plain_tokens(content: dict[str, Any]) -> dict[int, AddedToken]:
    return {int(token_id): AddedToken(text, special=False) for text, token_id in content.items()}


def _described_tokens(content: dict[str, Any]) -> dict[int, AddedToken]:
    options = ("single_word", "lstrip", "rstrip", "normalized", "special")
    return {
        int(token_id): AddedToken(entry["content"], **{name: bool(entry[name]) for name in options if name in entry})
        for token_id, entry in content.get("added_tokens_decoder", {}).items()
    }


def to_json(tokenizer: Tokenizer) -> bytes:
    """tokenizer.json as bytes, one object per line of the top level."""
    return json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, indent=None).encode() + b"\n"
