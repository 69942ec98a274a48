"""A prompt as slots: what stands where in the language model's input. The host decides all positions."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from hyperseg_runtime.errors import PromptError


class SlotKind(StrEnum):
    TEXT = "text"
    IMAGE = "image"
    PERCEIVER = "perceiver"
    CONDITION = "condition"  # text whose hidden states are averaged: an expression, a class name
    MASK_QUERIES = "mask queries"
    END = "end"  # closes the prompt; nobody attends to it and nothing reads it


@dataclass(frozen=True)
class Slot:
    """`length` rows of the input; `token_ids` for the kinds that are text."""

    kind: SlotKind
    length: int
    token_ids: tuple[int, ...] = ()

    @classmethod
    def text(cls, token_ids: Sequence[int], kind: SlotKind = SlotKind.TEXT) -> "Slot":
        return cls(kind, len(token_ids), tuple(token_ids))


@dataclass(frozen=True)
class Prompt:
    slots: tuple[Slot, ...]

    @property
    def length(self) -> int:
        return sum(slot.length for slot in self.slots)

    @property
    def attended_length(self) -> int:
        """Leading rows that others may attend to."""
        return self.length - sum(slot.length for slot in self.slots if slot.kind is SlotKind.END)

    def spans(self, kind: SlotKind) -> list[range]:
        """Rows of every slot of `kind`, in order."""
        found, start = [], 0
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
        for slot in self.slots:
            if slot.token_ids and not 0 <= min(slot.token_ids) <= max(slot.token_ids) < token_rows:
                raise PromptError(f"token ids {slot.token_ids} reach outside the {token_rows} known ones")


def pick_rows(spans: Sequence[range], tokens: int) -> np.ndarray:
    """Pooling matrix that copies the rows of all spans: (rows, tokens) float32."""
    rows = [row for span in spans for row in span]
    matrix = np.zeros((len(rows), tokens), np.float32)
    matrix[np.arange(len(rows)), rows] = 1
    return matrix


def average_rows(spans: Sequence[range], tokens: int) -> np.ndarray:
    """Pooling matrix that averages each span: (spans, tokens) float32."""
    matrix = np.zeros((len(spans), tokens), np.float32)
    for index, span in enumerate(spans):
        matrix[index, span.start : span.stop] = 1 / len(span)
    return matrix
