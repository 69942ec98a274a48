"""Checkpoints of random weights: in miniature, or of the published size in the shards it is published in.

A published tokenizer cannot be made up: these know the words of the prompts, and bytes; other words take more tokens.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import Tensor

from hyperseg_export.checkpoint.random_weights import RandomCheckpoint
from hyperseg_export.checkpoint.shards import Shard, shards_of
from hyperseg_export.families.family import Preset, WriteFiles
from hyperseg_export.families.mask_queries.layout import Entry, LanguageSizes
from hyperseg_export.families.mask_queries.made_files import random_checkpoint, write_config, write_tensors
from hyperseg_export.families.mask_queries.made_tokenizer import BASE_TOKENS, SEG, write_tokenizer
from hyperseg_export.families.mask_queries.published_files import file_steps

Sizes = TypeVar("Sizes", bound=LanguageSizes)


@dataclass(frozen=True)
class MadeCheckpoints(Generic[Sizes]):
    """Those of one family.

    layout   names, shapes and types of the tensors
    config   content of config.json
    texts    hold the words of the prompts, so that prompts stay short
    special  tokens that training added; `sizes` must have room for `TOKEN_ROWS`, and for one more for each beside [SEG]
    values   gives tensors that only this family has other values, see `RandomCheckpoint`
    """

    layout: Callable[[Sizes], Iterable[Entry]]
    config: Callable[[Sizes], dict[str, Any]]
    texts: Callable[[], Iterable[str]]
    special: Sequence[str] = (SEG,)
    values: Callable[[str, Tensor], Tensor | None] = lambda name, noise: None

    def tensors(self, sizes: Sizes, seed: int) -> RandomCheckpoint:
        """Made on demand."""
        return random_checkpoint(self.layout(sizes), sizes.swin_window, seed, self.values)

    def write(self, directory: Path, sizes: Sizes, seed: int) -> None:
        """In two shards, each in memory at once."""
        write_tensors(directory, self.tensors(sizes, seed), self.config(sizes))
        self._write_tokenizer(directory, sizes)

    def preset(self, name: str, about: str, published: Sizes) -> Preset:
        """Shard by shard, with as many layers of the language model as are asked for."""

        def sizes_of(layers: int | None) -> Sizes:
            return published if layers is None else replace(published, layers=layers)

        def shards(layers: int | None) -> Sequence[Shard]:
            return shards_of(self.layout(sizes_of(layers)))

        def files(seed: int, layers: int | None) -> Mapping[str, WriteFiles]:
            sizes = sizes_of(layers)

            def write_beside(directory: Path) -> None:
                write_config(directory, self.config(sizes))
                self._write_tokenizer(directory, sizes)

            return file_steps(shards(layers), self.tensors(sizes, seed), write_beside)

        def size_bytes(layers: int | None) -> int:
            return sum(shard.size_bytes for shard in shards(layers))

        return Preset(name, about, files, size_bytes, layered=True)

    def _write_tokenizer(self, directory: Path, sizes: Sizes) -> None:
        write_tokenizer(directory, sizes.max_positions, self.texts(), BASE_TOKENS, self.special)
