"""Tensors as several safetensors files with an index, in the layout of Hugging Face, one tensor in memory at a time."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hyperseg_export.checkpoint.folder import INDEX
from hyperseg_export.checkpoint.safetensors_file import write_safetensors

SHARD_BYTES = 5 * 10**9
"""transformers' own limit (`save_pretrained`, max_shard_size "5GB")."""
Entry = tuple[str, tuple[int, ...], torch.dtype]
Tell = Callable[[int, int], None]
"""Tensors done, and all of them."""


@dataclass(frozen=True)
class Shard:
    """One file and what it holds: name -> type and shape."""

    file: str
    layout: Mapping[str, tuple[torch.dtype, tuple[int, ...]]]

    @property
    def size_bytes(self) -> int:
        return sum(dtype.itemsize * math.prod(shape) for dtype, shape in self.layout.values())

    def write(self, directory: Path, value: Callable[[str], Tensor], tell: Tell = lambda done, of: None) -> None:
        """Ask for each tensor when its turn comes, and write it."""
        done = 0

        def made(name: str) -> Tensor:
            nonlocal done
            done += 1
            tell(done, len(self.layout))
            return value(name)

        write_safetensors(directory / self.file, self.layout, made)


def shards_of(layout: Iterable[Entry], limit_bytes: int = SHARD_BYTES) -> list[Shard]:
    """In the order given; a new file where the next tensor would not fit."""
    groups: list[dict[str, tuple[torch.dtype, tuple[int, ...]]]] = [{}]
    filled = 0
    for name, shape, dtype in layout:
        size = dtype.itemsize * math.prod(shape)
        if groups[-1] and filled + size > limit_bytes:
            groups.append({})
            filled = 0
        groups[-1][name] = dtype, shape
        filled += size
    return [Shard(f"model-{n:05}-of-{len(groups):05}.safetensors", group) for n, group in enumerate(groups, 1)]


def write_index(directory: Path, shards: Iterable[Shard]) -> None:
    """Which file holds which tensor."""
    shards = list(shards)
    content = {
        "metadata": {"total_size": sum(shard.size_bytes for shard in shards)},
        "weight_map": {name: shard.file for shard in shards for name in shard.layout},
    }
    (directory / INDEX).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
