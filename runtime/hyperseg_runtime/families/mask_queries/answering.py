"""An answer in words: the language model's next token, one after the other."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from hyperseg_runtime.contracts.sampling import Sampling, next_token
from hyperseg_runtime.errors import InputError, NumericsError, PromptError
from hyperseg_runtime.families.mask_queries.dimensions import MaskQueryDimensions
from hyperseg_runtime.families.mask_queries.prompts import continue_prompt
from hyperseg_runtime.families.mask_queries.state import MaskQueryImage
from hyperseg_runtime.llm.answers import Answer
from hyperseg_runtime.llm.prompt import Prompt
from hyperseg_runtime.llm.tokenizer import Tokenizer

ANSWER_TOKENS = 128
"""Longest answer unless the caller says otherwise; the releases' own default."""


class Answering:
    """Answers prompts about images of one model."""

    def __init__(self, dims: MaskQueryDimensions, tokenizer: Tokenizer) -> None:
        self._dims = dims
        self._tokenizer = tokenizer

    def answer(
        self, image: MaskQueryImage[Any], prompt: Prompt, sampling: Sampling, max_tokens: int | None, behind: int = 0
    ) -> Answer:
        """Computed while it is iterated; `behind` rows fit behind it. Raises as `room`."""
        room = self.room(prompt, max_tokens, behind)
        limit = min(room, ANSWER_TOKENS) if max_tokens is None else max_tokens
        details = {"prompt_tokens": prompt.length}
        tokens = self._generate(image, prompt, sampling, limit, details)
        return Answer(tokens, self._tokenizer, self._dims.eos_token_id, details)

    def room(self, prompt: Prompt, max_tokens: int | None, behind: int = 0) -> int:
        """Tokens that are left for the answer, with `behind` rows behind it. Raises PromptError where they are too few,
        InputError for none.
        """
        room = self._dims.context - prompt.length - behind
        shortest = 1 if max_tokens is None else max_tokens
        if shortest < 1:
            raise InputError(f"an answer of {shortest} tokens was asked for, expected 1 or more")
        if shortest > room:
            more = f" with {behind} behind it" if behind else ""
            raise PromptError(
                f"the prompt takes {prompt.length} tokens and the answer up to {shortest}{more}, the model was "
                f"exported for {self._dims.context} together; ask for less or export with a larger --context"
            )
        return room

    def _generate(
        self, image: MaskQueryImage[Any], prompt: Prompt, sampling: Sampling, limit: int, details: dict[str, int]
    ) -> Iterator[int]:
        """Ids one after the other. Only ids with an embedding can be chosen: others could not be fed back."""
        generator = sampling.generator()
        generated: list[int] = []
        while len(generated) < limit:
            with image.trusted():
                found, reused = image.next_logits(continue_prompt(prompt, generated, self._dims))
                details.setdefault("reused_tokens", reused)
                logits = found.to_host()[0, : self._dims.token_rows]
                if not np.isfinite(logits).all():
                    raise NumericsError()
            generated.append(next_token(logits, sampling, generator))
            yield generated[-1]
