"""HIPIE with ResNet-50 at its released size with random weights: one pickle, as released (hipie-spec 16).

A pickle is written whole: its tensors, 0.8 GB, are in memory at once.
"""

import math
from collections.abc import Mapping
from pathlib import Path

from hyperseg_export.checkpoint.folder import CONFIG
from hyperseg_export.checkpoint.shards import Tell
from hyperseg_export.families.family import Preset, WriteFiles
from hyperseg_export.families.hipie.layout import Sizes, second_names, tensor_layout
from hyperseg_export.families.hipie.tiny import write_checkpoint

FILE = "hipie_r50_synthetic.pth"
FLOAT_BYTES = 4


def files(seed: int, layers: int | None) -> Mapping[str, WriteFiles]:
    """One step: the pickle and its config.json."""

    def write(directory: Path, tell: Tell) -> list[str]:
        write_checkpoint(directory, Sizes(), seed, FILE)
        tell(1, 1)
        return [FILE, CONFIG]

    return {FILE: write}


def size_bytes(layers: int | None) -> int:
    """What the tensors take; further names of one take nothing."""
    second = second_names(Sizes())
    return sum(FLOAT_BYTES * math.prod(shape) for name, shape in tensor_layout(Sizes()) if name not in second)


PRESET = Preset("hipie", "HIPIE with ResNet-50: 1,438 names, 0.8 GB", files, size_bytes)
