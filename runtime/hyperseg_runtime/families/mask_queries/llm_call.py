"""What one call of the language model is told of its rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyperseg_runtime.llm.packing import PackedPrompts


@dataclass(frozen=True)
class LlmCall:
    """Where the rows of one call of the language model stand and what they see; of B prompts, T rows each."""

    position_ids: np.ndarray  # (B, T) int64
    attended_slots: np.ndarray  # (B, T, 2, 2) int64: start and end of two ranges of cache slots
    write_indices: np.ndarray  # (B,) int64: the slot of the first row
    slots: int  # leading slots of the cache that some row may see

    @classmethod
    def of(cls, packed: PackedPrompts, slot_step: int, context: int) -> "LlmCall":
        first = np.array([packed.first_slot], np.int64)
        return cls(packed.position_ids(), packed.attended_slots(), first, packed.slots(slot_step, context))


def prefill_slots(tokens: int, attended_lengths: Sequence[int]) -> np.ndarray:
    """Which cache slots the rows of a prefill see, (B, T, 2, 2) int64 (see `LlmCall`): row t slots 0..t that hold an
    attended row. Slot 0 always does, so no row sees nothing.
    """
    ranges = np.zeros((len(attended_lengths), tokens, 2, 2), np.int64)
    ranges[:, :, 0, 1] = np.minimum(1 + np.arange(tokens), np.asarray(attended_lengths)[:, None])
    return ranges
