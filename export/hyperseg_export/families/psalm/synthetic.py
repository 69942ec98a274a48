"""PSALM at its published size with random weights: names, shapes, types, shards as published (psalm-spec 9)."""

from hyperseg_export.families.psalm.layout import Sizes
from hyperseg_export.families.psalm.tiny import MADE

PRESET = MADE.preset("psalm", "PSALM: 935 tensors, 6.4 GB", Sizes())
