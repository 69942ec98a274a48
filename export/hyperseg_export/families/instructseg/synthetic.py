"""InstructSeg-3B at its published size with random weights: names, shapes, types and sizes of shards as published."""

from hyperseg_export.families.instructseg.layout import Sizes
from hyperseg_export.families.instructseg.tiny import MADE

PRESET = MADE.preset("instructseg-3b", "InstructSeg-3B: 1,640 tensors, 7.4 GB", Sizes())
