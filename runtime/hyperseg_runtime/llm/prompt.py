"""A prompt as slots: what stands where in the language model's input. The host decides all positions."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import takewhile

import numpy as np

from hyperseg_runtime.errors import PromptError


class SlotKind(StrEnum):
    TEXT = "text"
    IMAGE = "image"
    PERCEIVER = "perceiver"
    CONDITION = "condition"  # rows whose hidden states are averaged: an expression, a class name, a region
    MASK_QUERIES = "mask queries"
    END = "end"  # closes the prompt; nobody attends to it and nothing reads it


Dependencies = tuple[str, ...]
"""What the rows of a block are computed from, beside the weights. Equal ones, equal rows."""

LEARNED: Dependencies = ()
"""Learned rows: the same in every prompt."""
IMAGE: Dependencies = ("image",)
"""Rows of the image that the prompts are about."""

Row = int | tuple[SlotKind, Dependencies, int, int]
"""What fills one row: a token id, or a block's kind, dependencies and length and the place in it. Equal rows have equal
embeddings."""


@dataclass(frozen=True)
class Slot:
    """`length` rows of the input: token ids, or a block of rows that says what it depends on."""

    kind: SlotKind
    length: int
    token_ids: tuple[int, ...] = ()
    depends_on: Dependencies | None = None

    def __post_init__(self) -> None:
        if (self.depends_on is None) != (len(self.token_ids) == self.length):
            raise ValueError(f"a {self.kind} slot of {self.length} rows has either as many token ids or dependencies")

    @classmethod
    def text(cls, token_ids: Sequence[int], kind: SlotKind = SlotKind.TEXT) -> "Slot":
        return cls(kind, len(token_ids), tuple(token_ids))

    @classmethod
    def block(cls, kind: SlotKind, length: int, depends_on: Dependencies) -> "Slot":
        """Rows that are no text: visual tokens, learned queries."""
        return cls(kind, length, depends_on=depends_on)

    @property
    def rows(self) -> tuple[Row, ...]:
        if self.depends_on is None:
            return self.token_ids
        return tuple((self.kind, self.depends_on, self.length, index) for index in range(self.length))


@dataclass(frozen=True)
class Prompt:
    slots: tuple[Slot, ...]

    @property
    def length(self) -> int:
        return sum(slot.length for slot in self.slots)

    @property
    def token_ids(self) -> tuple[int, ...] | None:
        """Of all rows; None where some are no text."""
        if any(slot.depends_on is not None for slot in self.slots):
            return None
        return tuple(token_id for slot in self.slots for token_id in slot.token_ids)

    @property
    def attended_length(self) -> int:
        """Leading rows that others may attend to."""
        return self.length - sum(slot.length for slot in self.slots if slot.kind is SlotKind.END)

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """Row by row, for comparing prompts about one image."""
        return tuple(row for slot in self.slots for row in slot.rows)

    @cached_property
    def reusable_length(self) -> int:
        """Leading rows whose hidden states nothing reads: a cache may hold them from an earlier prompt.

        The last row's is always read; a block stays whole.
        """
        read = [span.start for kind in (SlotKind.CONDITION, SlotKind.MASK_QUERIES) for span in self.spans(kind)]
        last = next(slot for slot in reversed(self.slots) if slot.length)
        return min([*read, self.length - (1 if last.token_ids else last.length)])

    def shared_length(self, rows: Sequence[Row]) -> int:
        """Leading rows that equal `rows` and may be reused."""
        pairs = zip(self.rows[: self.reusable_length], rows, strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    def after(self, row: int) -> "Prompt":
        """The prompt from `row` on; text may be cut anywhere, other slots only at their start."""
        slots: list[Slot] = []
        start = 0
        for slot in self.slots:
            cut = min(max(row - start, 0), slot.length)
            start += slot.length
            if cut == slot.length:
                continue
            if cut and slot.depends_on is not None:
                raise ValueError(f"row {row} lies inside the {slot.kind} slot")
            slots.append(Slot.text(slot.token_ids[cut:], slot.kind) if cut else slot)
        return Prompt(tuple(slots))

    def spans(self, kind: SlotKind, first_row: int = 0) -> list[range]:
        """Rows of every slot of `kind`, in order; the prompt's own first row counts as `first_row`."""
        found, start = [], first_row
        for slot in self.slots:
            if slot.kind is kind:
                found.append(range(start, start + slot.length))
            start += slot.length
        return found

    def check(self, context: int, token_rows: int) -> None:
        """Raise PromptError if the prompt does not fit the model."""
        if self.length > context:
            raise PromptError(
                f"the prompt takes {self.length} tokens, the model was exported for {context}; "
                "shorten the text or export with a larger --context"
            )
        if len(self.spans(SlotKind.IMAGE)) > 1:
            raise PromptError(f"the prompt holds {len(self.spans(SlotKind.IMAGE))} images, the model reads one")
        for slot in self.slots:
            if slot.token_ids and not 0 <= min(slot.token_ids) <= max(slot.token_ids) < token_rows:
                raise PromptError(f"token ids {slot.token_ids} reach outside the {token_rows} known ones")


def row_numbers(spans: Sequence[range]) -> np.ndarray:
    """The rows of all spans: (rows,) int64."""
    return np.array([row for span in spans for row in span], np.int64)


def starts_and_ends(spans: Sequence[range]) -> np.ndarray:
    """(spans, 2) int64"""
    return np.array([(span.start, span.stop) for span in spans], np.int64).reshape(-1, 2)
