"""The tokenizer file of a bundle."""

from collections.abc import Callable, Sequence
from pathlib import Path

from tokenizers import Tokenizer as FastTokenizer
from tokenizers.decoders import DecodeStream

from hyperseg_runtime.errors import BundleError, PromptError

TOKENIZER_FILE = "tokenizer.json"
"""Where a bundle keeps it."""
MAX_CHARACTERS = 20_000
"""Longer text cannot fit any context and would only take time."""


class Tokenizer:
    """Text to ids and back. No special token is ever added on its own."""

    def __init__(self, path: Path) -> None:
        try:
            self._tokenizer = FastTokenizer.from_file(str(path))
        except MemoryError:
            raise
        except Exception as error:  # the library raises plain Exception
            raise BundleError(f"{path.name}: not a tokenizer file: {error}") from error

    def encode(self, text: str) -> list[int]:
        """Ids of text we wrote ourselves: special tokens are recognised."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def encode_spans(self, text: str) -> list[tuple[int, tuple[int, int]]]:
        """Ids as `encode`, each with the characters of `text` that it stands for: first, and one behind the last."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return list(zip(encoding.ids, encoding.offsets, strict=True))

    def encode_user_text(self, text: str, reserved: Sequence[int]) -> list[int]:
        """Ids of text from outside; PromptError if it is empty, too long or spells a reserved token."""
        require_text(text)
        ids = self.encode(text)
        for token_id in reserved:
            if token_id in ids:
                token = self._tokenizer.id_to_token(token_id)
                raise PromptError(f"the text holds {token!r}, which the model reserves; leave it out")
        return ids

    def stream(self) -> Callable[[int], str]:
        """A function from one id after another to the text each completes; "" inside a character."""
        decoder = DecodeStream(skip_special_tokens=True)
        return lambda token_id: decoder.step(self._tokenizer, token_id) or ""

    def decode(self, token_ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(token_ids), skip_special_tokens=True)
        return text


def require_text(text: str) -> None:
    """PromptError for text from outside that nobody can have meant: empty, endless, no Unicode."""
    if not text.strip():
        raise PromptError("the text is empty; say what to look for, for example 'the man on the left'")
    if len(text) > MAX_CHARACTERS:
        raise PromptError(f"the text has {len(text)} characters, at most {MAX_CHARACTERS} are read")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise PromptError(f"the text is not valid Unicode: {error}") from error
