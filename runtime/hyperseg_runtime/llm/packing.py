"""Several prompts about one image in one call of the language model.

The prompts share a cache: each reads the leading rows it has in common with the first prompt from there and
brings only its own suffix. What each row may see keeps suffixes apart and positions restart at each suffix, so
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

    def attended_slots(self) -> np.ndarray:
        """Start and end of the two ranges of cache slots that each row sees, (1, rows, 2, 2) int64: those before the
        suffix's base, and the suffix's own rows so far.
        """
        ranges = np.zeros((self.rows, 2, 2), np.int64)
        ranges[self.tokens :, 0, 1] = 1
        for suffix in self.suffixes:
            start = suffix.slot - self.first_slot
            rows = ranges[start : start + suffix.length]
            rows[:, 0, 1] = suffix.base
            rows[:, 1, 0] = suffix.slot
            rows[:, 1, 1] = suffix.slot + 1 + np.arange(suffix.length)
        return ranges[None]

    def slots(self, step: int, context: int) -> int:
        """Leading slots of the cache that some row may see, up to a multiple of `step` or to the end."""
        return min(-(-self.last_slot // step) * step, context)


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
