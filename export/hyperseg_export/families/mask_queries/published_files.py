"""A checkpoint of random weights in the shards it is published in."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hyperseg_export.checkpoint.key_map import TensorSource
from hyperseg_export.checkpoint.shards import Shard, Tell, write_index
from hyperseg_export.families.family import WriteFiles


def file_steps(
    shards: Sequence[Shard], source: TensorSource, write_beside: Callable[[Path], None]
) -> Mapping[str, WriteFiles]:
    """The shards, then what stands beside them, as the steps of a preset."""

    def shard_writer(shard: Shard) -> WriteFiles:
        def write(directory: Path, tell: Tell) -> list[str]:
            shard.write(directory, source.tensor, tell)
            return [shard.file]

        return write

    def write_rest(directory: Path, tell: Tell) -> list[str]:
        before = set(directory.iterdir())
        write_index(directory, shards)
        write_beside(directory)
        return sorted(path.name for path in set(directory.iterdir()) - before)

    return {**{shard.file: shard_writer(shard) for shard in shards}, "config": write_rest}
