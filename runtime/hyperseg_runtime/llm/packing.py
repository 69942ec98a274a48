"""Several prompts about one image in one call of the language model.

The prompts share a cache: each reads the leading rows it has in common with the first prompt from there and
brings only its own suffix. The attention mask keeps suffixes apart and positions restart at each suffix, so
every row sees what it would see alone; the result is the same, and nothing is copied.

    slots      | reused from the cache | rest of prompt 0 | suffix of 1 | suffix of 2 |
    one call                           |<------------- the rows of this call -------->|
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
    suffixes: tuple[Suffix, ...]

    @property
    def first_slot(self) -> int:
        """Cache slots before it are read, not written."""
        return self.suffixes[0].slot

    @property
    def tokens(self) -> int:
        """Rows of this call."""
        return sum(suffix.length for suffix in self.suffixes)

    @property
    def last_slot(self) -> int:
        return self.first_slot + self.tokens

    def read(self) -> Prompt:
        """What this call brings, suffix after suffix."""
        return Prompt(tuple(slot for suffix in self.suffixes for slot in suffix.prompt.after(suffix.base).slots))

    def hidden_row(self, index: int) -> int:
        """Add it to a row of prompt `index` for its row in the hidden states of this call."""
        suffix = self.suffixes[index]
        return suffix.slot - suffix.base - self.first_slot

    def position_ids(self) -> np.ndarray:
        """(1, T) int64"""
        positions = [np.arange(suffix.base, suffix.prompt.length) for suffix in self.suffixes]
        return np.concatenate(positions)[None].astype(np.int64)

    def attention_mask(self, context: int) -> np.ndarray:
        """(1, 1, T, context) bool: slots before the suffix's base, then its own rows so far."""
        mask = np.zeros((self.tokens, context), np.bool_)
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
