"""From an expression to the ids of CLIP's text encoder, exactly as the release makes them (unilseg-spec 4)."""

import html
import re

import ftfy
import numpy as np

from hyperseg_runtime.errors import PromptError
from hyperseg_runtime.llm.tokenizer import MAX_CHARACTERS, Tokenizer

START_ID, END_ID, PADDING_ID = 49406, 49407, 0
"""Id 0 is also the symbol "!" inside a run of symbols: the release takes it for padding there, and so do we."""


def cleaned(text: str) -> str:
    """Text as CLIP splits it: encoding errors mended, HTML unescaped, one space at most, lower case."""
    unescaped = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", unescaped).strip().lower()


def word_ids(tokenizer: Tokenizer, text: str, words: int) -> np.ndarray:
    """Ids of an expression, (words,) int64: start, text, end, padding.

    A text that is too long is cut, the end stays. An empty text is as legal as in the release: start and end.
    PromptError if the text is endless or spells the start or the end token.
    """
    if len(text) > MAX_CHARACTERS:
        raise PromptError(f"the text has {len(text)} characters, at most {MAX_CHARACTERS} are read")
    plain = cleaned(text)
    content = tokenizer.encode_user_text(plain, (START_ID, END_ID)) if plain else []
    ids = np.full(words, PADDING_ID, np.int64)
    kept = [START_ID, *content[: words - 2], END_ID]
    ids[: len(kept)] = kept
    return ids
