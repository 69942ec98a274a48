"""HIPIE at its released sizes with random weights: one pickle each, as released (hipie-spec 16).

A pickle is written whole: its tensors, 0.8 GB with ResNet-50 and 3.2 GB with ViT-H, are in memory at once.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from hyperseg_export.checkpoint.folder import CONFIG
from hyperseg_export.checkpoint.shards import Tell
from hyperseg_export.families.family import Preset, WriteFiles
from hyperseg_export.families.hipie.layout import Sizes, VitSizes, second_names, tensor_layout
from hyperseg_export.families.hipie.tiny import write_checkpoint
from hyperseg_runtime.errors import InputError

FLOAT_BYTES = 4
FEWEST_BLOCKS = 3
"""The third block is the first that attends to the whole image: what windows are is read from how the others differ."""


def resnet(layers: int | None) -> Sizes:
    """It has no stack that could be shorter."""
    return Sizes()


def vit(layers: int | None) -> Sizes:
    """The first blocks of ViT-H, or all. Raises InputError for fewer than tell what they are, and for more than all."""
    whole = VitSizes()
    if layers is not None and not FEWEST_BLOCKS <= layers <= whole.depth:
        raise InputError(
            f"ViT-H has {whole.depth} blocks: expected --layers {FEWEST_BLOCKS} to {whole.depth}, got {layers}"
        )
    return Sizes(backbone=whole if layers is None else replace(whole, depth=layers))


def files(
    file: str, sizes_of: Callable[[int | None], Sizes], seed: int, layers: int | None
) -> Mapping[str, WriteFiles]:
    """One step: the pickle and its config.json."""
    sizes = sizes_of(layers)

    def write(directory: Path, tell: Tell) -> list[str]:
        write_checkpoint(directory, sizes, seed, file)
        tell(1, 1)
        return [file, CONFIG]

    return {file: write}


def size_bytes(sizes: Sizes) -> int:
    """What the tensors take; further names of one take nothing."""
    second = second_names(sizes)
    return sum(FLOAT_BYTES * math.prod(shape) for name, shape in tensor_layout(sizes) if name not in second)


def preset(name: str, about: str, file: str, sizes_of: Callable[[int | None], Sizes], layered: bool) -> Preset:
    return Preset(
        name,
        about,
        lambda seed, layers: files(file, sizes_of, seed, layers),
        lambda layers: size_bytes(sizes_of(layers)),
        layered,
    )


PRESETS = (
    preset("hipie", "HIPIE with ResNet-50: 1,438 names, 0.8 GB", "hipie_r50_synthetic.pth", resnet, layered=False),
    preset("hipie-vit-h", "HIPIE with ViT-H: 1,626 names, 3.2 GB", "hipie_vit_h_synthetic.pth", vit, layered=True),
)
