"""From an expression to the ids of CLIP's text encoder, exactly as the release makes them (unilseg-spec 4)."""

import html
import re

import numpy as np

from hyperseg_runtime.errors import PromptError
from hyperseg_runtime.families.unilseg.spec import PAD_TOKEN_ID
from hyperseg_runtime.llm.tokenizer import MAX_CHARACTERS, Tokenizer


def cleaned(text: str) -> str:
    """Text as CLIP splits it: encoding errors mended, HTML unescaped, one space at most, lower case."""
    import ftfy  # a tenth of the time that all imports take, and no other family needs it

    unescaped = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", unescaped).strip().lower()


def word_ids(tokenizer: Tokenizer, text: str, words: int, start_id: int, end_id: int) -> np.ndarray:
    """Ids of an expression, (words,) int64: start, text, end, padding.

    A text that is too long is cut, the end stays. An empty text is as legal as in the release: start and end.
    PromptError if the text is endless or spells the start or the end token.
    """
    if len(text) > MAX_CHARACTERS:
        raise PromptError(f"the text has {len(text)} characters, at most {MAX_CHARACTERS} are read")
    plain = cleaned(text)
    content = tokenizer.encode_user_text(plain, (start_id, end_id)) if plain else []
    ids = np.full(words, PAD_TOKEN_ID, np.int64)
    kept = [start_id, *content[: words - 2], end_id]
    ids[: len(kept)] = kept
    return ids
