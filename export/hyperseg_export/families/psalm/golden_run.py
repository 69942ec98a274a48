"""One engine set up on PSALM's golden folder, and stored prompts as the runtime has them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from hyperseg_export.families.mask_queries import golden_cases as shared
from hyperseg_export.families.mask_queries.golden_cases import (
    CLASS_ID,
    EXPRESSION_ID,
    IMAGE_ID,
    MASK_QUERIES_ID,
    REGION_ID,
)
from hyperseg_export.parity.golden import Arrays
from hyperseg_runtime.families.mask_queries.prompts import mask_queries, region
from hyperseg_runtime.families.psalm.spec import PsalmDimensions
from hyperseg_runtime.families.psalm.stages import PsalmStages
from hyperseg_runtime.llm.prompt import IMAGE, Dependencies, Prompt, Slot, SlotKind


@dataclass(frozen=True)
class GoldenRun(shared.GoldenRun[PsalmStages]):
    heads: int
    images: np.ndarray
    """Of the cases that store none, (1, 3, S, S)."""

    @property
    def dims(self) -> PsalmDimensions:
        return self.stages.dims

    def prompt(self, ids: np.ndarray, conditions: Sequence[Slot]) -> Prompt:
        """From ids with placeholders, the conditions in their order."""
        named = iter(conditions)
        slots: Mapping[int, Iterator[Slot]] = {
            IMAGE_ID: repeat(Slot.block(SlotKind.IMAGE, self.dims.image_tokens, IMAGE)),
            MASK_QUERIES_ID: repeat(mask_queries(self.dims)),
            EXPRESSION_ID: named,
            CLASS_ID: named,
            REGION_ID: named,
        }
        return shared.stored_prompt(ids, slots, self.dims)


def conditions_of(arrays: Arrays, row: int, regions: Sequence[Dependencies]) -> list[Slot]:
    """What stands at the placeholders of one stored prompt."""
    if "in_token_refer_id" in arrays:
        return [*shared.expressions(arrays["in_token_refer_id"])]
    if "in_class_name_ids" in arrays:
        ids, owner = arrays["in_class_name_ids"][row], arrays["in_cls_indices"][row]
        return [*shared.expressions(*(ids[owner == index] for index in range(int(owner.max()) + 1)))]
    return [region(depends_on) for depends_on in regions]


def counted_points(points: np.ndarray, side_px: int) -> np.ndarray:
    """How often each pixel (side, side) is among points, (row, column) / side."""
    counts = np.zeros((side_px, side_px), np.int64)
    rows, columns = np.rint(points * side_px).astype(np.int64).T
    np.add.at(counts, (rows, columns), 1)
    return counts
