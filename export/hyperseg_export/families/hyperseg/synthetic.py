"""HyperSeg-3B at its published size with random weights: names, shapes, types, shards as published (hyperseg-spec 11).

The published tokenizer cannot be made up: this one knows the prompts' words, and bytes; other words take more tokens.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hyperseg_export.checkpoint.shards import shards_of
from hyperseg_export.families.family import Preset, WriteFiles
from hyperseg_export.families.hyperseg.layout import Sizes, tensor_layout
from hyperseg_export.families.hyperseg.tiny import random_checkpoint, write_own_tokenizer
from hyperseg_export.families.mask_queries.made_files import write_config
from hyperseg_export.families.mask_queries.published_files import file_steps


def files(seed: int, layers: int | None) -> Mapping[str, WriteFiles]:
    """The shards, then what stands beside them."""
    sizes = Sizes() if layers is None else replace(Sizes(), layers=layers)

    def write_beside(directory: Path) -> None:
        write_config(directory, sizes.config())
        write_own_tokenizer(directory, sizes)

    return file_steps(shards_of(tensor_layout(sizes)), random_checkpoint(sizes, seed), write_beside)


def size_bytes(layers: int | None) -> int:
    """What the shards take."""
    sizes = Sizes() if layers is None else replace(Sizes(), layers=layers)
    return sum(shard.size_bytes for shard in shards_of(tensor_layout(sizes)))


PRESET = Preset("hyperseg-3b", "HyperSeg-3B: 1,636 tensors, 6.9 GB", files, size_bytes, layered=True)
