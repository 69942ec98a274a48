"""UniLSeg at its released size with random weights: one pickle, as released (unilseg-spec 12).

A pickle is written whole: its tensors, 1.1 GB, are in memory at once.
"""

import math
from collections.abc import Mapping
from pathlib import Path

from hyperseg_export.checkpoint.folder import CONFIG
from hyperseg_export.checkpoint.shards import Tell
from hyperseg_export.families.family import Preset, WriteFiles
from hyperseg_export.families.unilseg.layout import Sizes, tensor_layout
from hyperseg_export.families.unilseg.tiny import write_checkpoint

FILE = "UniLSeg_synthetic.pth"


def files(seed: int, layers: int | None) -> Mapping[str, WriteFiles]:
    """One step: the pickle and its config.json."""

    def write(directory: Path, tell: Tell) -> list[str]:
        write_checkpoint(directory, Sizes(), seed, FILE)
        tell(1, 1)
        return [FILE, CONFIG]

    return {FILE: write}


def size_bytes(layers: int | None) -> int:
    """What the tensors take."""
    return sum(dtype.itemsize * math.prod(shape) for _, shape, dtype in tensor_layout(Sizes()))


PRESET = Preset("unilseg", "UniLSeg: 931 tensors, 1.1 GB", files, size_bytes)
