"""Several prompts about one image in one call of the language model.

The prompts share a cache: each reads the leading rows it has in common with the first prompt from there and
brings only its own suffix. The attention mask keeps suffixes apart and positions restart at each suffix, so
every row sees what it would see alone; the result is the same, and nothing is copied.

    slots      | reused from the cache | rest of prompt 0 | suffix of 1 | suffix of 2 |
    one call                           |<------------- the rows of this call -------->|
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from hyperseg_runtime.llm.prompt import Prompt, Row


@dataclass(frozen=True)
class Suffix:
    """`prompt` from row `base` on, written to cache slots `slot`, `slot` + 1, ..."""

    prompt: Prompt
    base: int
    slot: int

    @property
    def length(self) -> int:
        return self.prompt.length - self.base


@dataclass(frozen=True)
class PackedPrompts:
    """`padding` rows follow the last suffix: they see slot 0, nobody sees them, and the next call writes over them."""

    suffixes: tuple[Suffix, ...]
    padding: int = 0

    @property
    def first_slot(self) -> int:
        """Cache slots before it are read, not written."""
        return self.suffixes[0].slot

    @property
    def tokens(self) -> int:
        """Rows of the prompts in this call."""
        return sum(suffix.length for suffix in self.suffixes)

    @property
    def rows(self) -> int:
        """All rows of this call."""
        return self.tokens + self.padding

    def padded(self, step: int, context: int) -> Self:
        """With rows up to a multiple of `step`, or to the end of the `context`; a single token stays alone."""
        rows = -(-self.tokens // step) * step if self.tokens > 1 else 1
        return replace(self, padding=min(rows, context - self.first_slot) - self.tokens)

    @property
    def last_slot(self) -> int:
        return self.first_slot + self.tokens

    def new_rows(self) -> Prompt:
        """What this call brings, suffix after suffix."""
        return Prompt(tuple(slot for suffix in self.suffixes for slot in suffix.prompt.after(suffix.base).slots))

    def hidden_row(self, index: int) -> int:
        """Add it to a row of prompt `index` for its row in the hidden states of this call."""
        suffix = self.suffixes[index]
        return suffix.slot - suffix.base - self.first_slot

    def position_ids(self) -> np.ndarray:
        """(1, rows) int64"""
        positions = [np.arange(suffix.base, suffix.prompt.length) for suffix in self.suffixes]
        return np.concatenate([*positions, np.zeros(self.padding, np.int64)])[None].astype(np.int64)

    def attention_mask(self, context: int) -> np.ndarray:
        """(1, 1, rows, context) bool: slots before the suffix's base, then its own rows so far."""
        mask = np.zeros((self.rows, context), np.bool_)
        mask[self.tokens :, 0] = True
        for suffix in self.suffixes:
            start, slots = suffix.slot - self.first_slot, slice(suffix.slot, suffix.slot + suffix.length)
            rows = mask[start : start + suffix.length]
            rows[:, : suffix.base] = True
            rows[:, slots] = np.tri(suffix.length, dtype=np.bool_)
        return mask[None, None]


def pack(prompts: Sequence[Prompt], held: Sequence[Row], context: int) -> Iterator[PackedPrompts]:
    """Calls that read all `prompts`, in order, as many at once as fit into `context` cache slots.

    `held` are the rows the cache holds now; after a call it holds the rows of that call's first prompt.
    """
    waiting = list(prompts)
    while waiting:
        first = waiting.pop(0)
        reused = first.shared_length(held)
        suffixes = [Suffix(first, reused, reused)]
        end = first.length
        while waiting:
            base = waiting[0].shared_length(first.rows)
            if end + waiting[0].length - base > context:
                break
            suffixes.append(Suffix(waiting.pop(0), base, end))
            end += suffixes[-1].length
        held = first.rows
        yield PackedPrompts(tuple(suffixes))
