"""Every tolerance of models and engines, with its reason. Errors are relative to the range of the expected array.

Which outputs each belongs to is a family's business: `Tolerances`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

FEATURE = 1e-4
"""Float32 activations: two correct implementations differ by 1e-6 to 1e-5 of the range (order of summation);
a wrong constant, epsilon or padding shows above 1e-3."""

MASK_LOGIT = 1e-3
"""Mask logits sum 64 to 256 products of two features each, after up to nine layers of masked attention."""

UNDECIDED = 1e-5
"""A mask's pixel whose logit is nearer to zero than this, in units of the logits' range, has no side: as much lies
between two float32 implementations (see FEATURE). All other pixels of a mask have to be equal."""

QUERY_NUMBER = 3e-4
"""One number for each mask query, such as a predicted IoU or a score: its range is that of ten or a hundred numbers,
while the rounding behind it is that of a whole decoder. The same module in float32 and in float64, 297 sets of random
weights: 8e-5 of the range at the 99th percentile, 1.2e-4 at most, where the decoder's states stayed below 9e-5. Two
float32 implementations have twice that between them; a wrong head shows above 1e-2."""

PREPROCESSING = 1e-6
"""Inputs of the networks: the same Pillow filter on the same bytes, then two float32 operations."""

SCORE = 1e-4
"""Absolute, on scores in 0..1: a mean of sigmoids over a mask's pixels."""

SAME_SCORE = 1e-5
"""Absolute, on scores in 0..1 that the same graphs give twice: rows that are kept, or packed with
those of other prompts, differ in the last bits of float32."""

LORA = 1e-5
"""Merged weights: one float32 matrix product of rank 8."""

COSINE = {"fp16": 1e-3, "bf16": 5e-3}
"""Cosine distance of a typed graph from its float32 module. Rounding alone gives 5e-5 (fp16) and 5e-4 (bf16) on the
tiny model, more where layers are deeper; a wrong cast, scale or mask gives more than 1e-2."""

MASK_IOU = {"fp32": 1e-3, "fp16": 1e-2, "bf16": 5e-2}
"""1 - IoU of the masks of all queries: pixels whose logit lies within the rounding error of zero change sides.
Random weights put many there (8e-4 for fp16, 9e-3 for bf16 on the tiny model). Float32 only for engines."""

DECISION = {"fp32": 1e-4, "fp16": 5e-3, "bf16": 2e-2}
"""What an engine's choice of a token or a mask may lose, in units of the range of what it chooses from: two or three
steps of the number format at its end (fp16 1e-3, bf16 8e-3). Options that close are equally good answers; a choice
that is wrong for another reason loses a tenth or more."""


@dataclass(frozen=True)
class Tolerances:
    """How a family's outputs are judged.

    endings  ending of a name -> largest error in units of the range, in float32; FEATURE for other names
    masks    outputs that become masks -> the value from which on a pixel belongs to one
    choices  outputs that something is chosen from -> the axis of the options
    queries  outputs with something for every mask query -> the axis of queries; see `undecided`
    """

    endings: Mapping[str, float] = field(default_factory=dict)
    masks: Mapping[str, float] = field(default_factory=dict)
    choices: Mapping[str, int] = field(default_factory=dict)
    queries: Mapping[str, int] = field(default_factory=dict)

    def of(self, name: str) -> float:
        """For a graph output or a golden array of this name; the longest ending decides."""
        matching = [ending for ending in self.endings if name.endswith(ending)]
        return self.endings[max(matching, key=len)] if matching else FEATURE
