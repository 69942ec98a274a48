"""HyperSeg-3B in its published size and layout (hyperseg-spec 11), with random weights."""

from hyperseg_export.families.hyperseg.layout import Sizes
from hyperseg_export.families.hyperseg.tiny import MADE

PRESET = MADE.preset("hyperseg-3b", "HyperSeg-3B: 1,636 tensors, 6.9 GB", Sizes())
