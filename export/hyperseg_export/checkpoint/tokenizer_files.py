"""The tokenizer of a checkpoint, whichever files it comes in, as one tokenizer.json."""

import json
import os
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from hyperseg_export.checkpoint.folder import read_json, require_content
from hyperseg_runtime.errors import CheckpointError

FAST = "tokenizer.json"
VOCABULARY, MERGES = "vocab.json", "merges.txt"
ADDED, CONFIG, SPECIAL = "added_tokens.json", "tokenizer_config.json", "special_tokens_map.json"
ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
MORE_ROLES = ("additional_special_tokens", "extra_special_tokens")


def load_tokenizer(directory: Path) -> Tokenizer:
    """The byte-level BPE tokenizer of a checkpoint folder.

    Read from tokenizer.json, or from vocab.json and merges.txt. Added tokens that are not in there come from
    added_tokens.json and tokenizer_config.json, with their ids, then from what these and special_tokens_map.json name
    without ids, in that order, as transformers adds them. Raises CheckpointError when there is no tokenizer, or an id
    does not fit.
    """
    tokenizer = _stored(directory) if _is_there(directory / FAST) else _from_merges(directory)
    for token_id, token in sorted(_added_tokens(directory).items()):
        if token.content not in _added(tokenizer):  # it may stand in the vocabulary, and be cut up all the same
            tokenizer.add_tokens([token])
        if tokenizer.token_to_id(token.content) != token_id:
            raise CheckpointError(
                f"checkpoint {directory}: token {token.content!r} should get id {token_id}, "
                f"gets {tokenizer.token_to_id(token.content)}; an added token before it is missing, or files disagree"
            )
    tokenizer.add_special_tokens([text for text in _named_tokens(directory) if text not in _added(tokenizer)])
    return tokenizer


def _is_there(path: Path) -> bool:
    """Also as a link that leads nowhere, or as what cannot be read: it was meant, and its error says why."""
    return os.path.lexists(path)


def _added(tokenizer: Tokenizer) -> set[str]:
    return {token.content for token in tokenizer.get_added_tokens_decoder().values()}


def _stored(directory: Path) -> Tokenizer:
    require_content(directory / FAST, FAST)
    try:
        stored = Tokenizer.from_file(str(directory / FAST))
    except Exception as error:  # the library raises plain Exception
        raise CheckpointError(f"checkpoint {directory}: {FAST} cannot be read: {error}") from error
    stored.no_truncation()  # settings of whoever saved it last; they would cut prompts
    stored.no_padding()
    return stored


def _from_merges(directory: Path) -> Tokenizer:
    absent = [name for name in (VOCABULARY, MERGES) if not _is_there(directory / name)]
    if absent:
        raise CheckpointError(
            f"checkpoint {directory}: the tokenizer is missing: expected {FAST}, or {VOCABULARY} and {MERGES}; "
            f"{' and '.join(absent)} not found"
        )
    for name in (VOCABULARY, MERGES):
        require_content(directory / name, name)
    try:
        tokenizer = Tokenizer(BPE.from_file(str(directory / VOCABULARY), str(directory / MERGES)))
    except Exception as error:
        raise CheckpointError(f"checkpoint {directory}: {VOCABULARY} or {MERGES} is damaged: {error}") from error
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
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
        if _is_there(directory / file):
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


def _named_tokens(directory: Path) -> list[str]:
    """Tokens that files name by their role, without an id."""
    found: dict[str, None] = {}
    for file in (SPECIAL, CONFIG):
        content = read_json(directory / file) if _is_there(directory / file) else {}
        entries: list[Any] = [content[role] for role in ROLES if content.get(role)]
        for role in MORE_ROLES:
            more = content.get(role) or []
            entries += more.values() if isinstance(more, dict) else more
        for entry in entries:
            text = entry.get("content") if isinstance(entry, dict) else entry
            if not isinstance(text, str):
                raise CheckpointError(f"checkpoint {directory}: {file} names {entry!r} as a token, expected a text")
            found[text] = None
    return list(found)


def to_json(tokenizer: Tokenizer) -> bytes:
    """tokenizer.json as bytes, one object per line of the top level."""
    return json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, indent=None).encode() + b"\n"
