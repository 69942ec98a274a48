"""HyperSeg-3B at its published size with random weights: names, shapes, types, shards as published (hyperseg-spec 11).

The published tokenizer cannot be made up: this one knows the prompts' words, and bytes; other words take more tokens.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hyperseg_export.checkpoint.shards import Shard, Tell, shards_of, write_index
from hyperseg_export.families.family import Preset, WriteFiles
from hyperseg_export.families.hyperseg.layout import Sizes, tensor_layout
from hyperseg_export.families.hyperseg.tiny import random_checkpoint, write_config, write_own_tokenizer


def files(seed: int, layers: int | None) -> Mapping[str, WriteFiles]:
    """The shards, then what stands beside them."""
    sizes = Sizes() if layers is None else replace(Sizes(), layers=layers)
    source, shards = random_checkpoint(sizes, seed), shards_of(tensor_layout(sizes))

    def shard_writer(shard: Shard) -> WriteFiles:
        def write(directory: Path, tell: Tell) -> list[str]:
            shard.write(directory, source.tensor, tell)
            return [shard.file]

        return write

    def write_rest(directory: Path, tell: Tell) -> list[str]:
        before = set(directory.iterdir())
        write_index(directory, shards)
        write_config(directory, sizes)
        write_own_tokenizer(directory, sizes)
        return sorted(path.name for path in set(directory.iterdir()) - before)

    return {**{shard.file: shard_writer(shard) for shard in shards}, "config": write_rest}


def size_bytes(layers: int | None) -> int:
    """What the shards take."""
    sizes = Sizes() if layers is None else replace(Sizes(), layers=layers)
    return sum(shard.size_bytes for shard in shards_of(tensor_layout(sizes)))


PRESET = Preset("hyperseg-3b", "HyperSeg-3B: 1,636 tensors, 6.9 GB", files, size_bytes, layered=True)
