"""A checkpoint with its adapter merged into the weights, written in the published layout."""

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hyperseg_export.checkpoint.folder import INDEX, Checkpoint
from hyperseg_export.checkpoint.lora import ADAPTER_CONFIG, MergedCheckpoint, with_adapters
from hyperseg_export.checkpoint.safetensors_file import write_safetensors
from hyperseg_export.jobs.progress import Progress, Silent
from hyperseg_export.jobs.staging import Staging, Work, content_key, require_apart
from hyperseg_runtime.errors import CheckpointError
from hyperseg_runtime.files.writing import fsync_file, output_folder, write_atomically

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".gguf")
INDEX_END = ".index.json"


@dataclass(frozen=True)
class MergedWeight:
    """One merged weight. `worst_error`: stored dtype against float32, relative to the range."""

    weight: str
    rank: int
    dtype: str
    worst_error: float


def merge_checkpoint(
    directory: Path,
    target: Path,
    adapter: Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[MergedWeight]:
    """Write `target`: the checkpoint's files, plain names, adapted weights merged and rounded to their dtype.

    Memory holds one tensor at a time, in a few forms. `target` appears whole or not at all; a killed merge
    goes on where it stopped. Raises CheckpointError, InputError, OutputError or ResourceError.
    """
    require_apart(target, directory, adapter or directory)
    base = Checkpoint.open(directory)
    checkpoint = with_adapters(base, adapter)
    if not checkpoint.adapters:
        raise CheckpointError(f"checkpoint {directory}: no adapter was found to merge; name its folder with --adapter")
    with output_folder(target.parent), Staging(target, overwrite) as staging:
        return _Merge(base, checkpoint, staging, progress or Silent()).run()


class _Merge:
    def __init__(self, base: Checkpoint, checkpoint: MergedCheckpoint, staging: Staging, progress: Progress) -> None:
        self.checkpoint = checkpoint
        self.staging = staging
        self.progress = progress
        self.shards: dict[str, list[str]] = {}  # file -> plain names in it
        for plain, stored in checkpoint.names.items():
            self.shards.setdefault(base.shards[stored].name, []).append(plain)

    def run(self) -> list[MergedWeight]:
        self.staging.require_room(sum(self.checkpoint.bytes_of(name) for name in self.checkpoint.names))
        self.progress.stage("checkpoint", 1, len(self.shards) + 1)
        origin = [self.checkpoint.base.fingerprint(), self.checkpoint.adapter_sha256, version("hyperseg-trt")]
        merged: list[MergedWeight] = []
        for index, file in enumerate(sorted(self.shards), 2):
            self.progress.stage(file, index, len(self.shards) + 1)
            result = self.staging.run(file, content_key(file, origin), self._shard_writer(file))
            merged += [MergedWeight(**row) for row in result.facts["merged"]]
        rest = self.staging.run("rest", content_key(origin), self._write_rest)
        self.staging.commit([*self.shards, *rest.files])
        return sorted(merged, key=lambda row: row.weight)

    def _shard_writer(self, file: str) -> Work:
        def write(folder: Path) -> tuple[Iterable[str], dict[str, Any]]:
            merged: list[MergedWeight] = []

            def value(name: str) -> Tensor:
                tensor = self.checkpoint.tensor(name)
                if name not in self.checkpoint.adapters:
                    return tensor
                row, tensor = self._rounded(name, tensor)
                merged.append(row)
                return tensor

            layout = {name: (self._dtype(name), self.checkpoint.shapes[name]) for name in self.shards[file]}
            write_safetensors(folder / file, layout, value)
            return [file], {"merged": [asdict(row) for row in merged]}

        return write

    def _rounded(self, name: str, exact: Tensor) -> tuple[MergedWeight, Tensor]:
        dtype = self._dtype(name)
        stored = exact.to(dtype)
        if not torch.isfinite(stored).all():
            raise CheckpointError(
                f"adapter: the merged {name} has values that {dtype} cannot hold; "
                "keep the adapter apart (export --keep-adapter)"
            )
        rank = self.checkpoint.adapters[name].rank
        return MergedWeight(name, rank, str(dtype).removeprefix("torch."), _rounding(stored, exact)), stored

    def _dtype(self, name: str) -> torch.dtype:
        return self.checkpoint.base.dtypes[self.checkpoint.names[name]]

    def _write_rest(self, folder: Path) -> tuple[Iterable[str], dict[str, Any]]:
        """Config, tokenizer and index. What belongs to the adapter, and weights in other formats, stay behind."""
        source = self.checkpoint.base.directory
        written = []
        for path in sorted(source.iterdir()):
            if path.is_file() and path.suffix not in WEIGHTS and not path.name.endswith((INDEX_END, ADAPTER_CONFIG)):
                with path.open("rb") as old, (folder / path.name).open("wb") as new:
                    shutil.copyfileobj(old, new)
                    fsync_file(new)
                written.append(path.name)
        if (source / INDEX).is_file():
            total = sum(self.checkpoint.bytes_of(name) for name in self.checkpoint.names)
            weight_map = {name: file for file, names in self.shards.items() for name in names}
            index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
            write_atomically(folder / INDEX, (json.dumps(index, indent=2) + "\n").encode())
            written.append(INDEX)
        return written, {}


def _rounding(stored: Tensor, exact: Tensor) -> float:
    """Largest difference in units of the range, as `worst_error` has it but without copies in float64."""
    extent = float(exact.max() - exact.min()) or float(exact.abs().max()) or 1.0
    return float((stored.to(torch.float32) - exact).abs_().max()) / extent
