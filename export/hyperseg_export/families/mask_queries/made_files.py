"""Made checkpoints: tensors with random values, and the files they are published in."""

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from hyperseg_export.checkpoint.folder import CONFIG, INDEX
from hyperseg_export.checkpoint.key_map import TensorSource
from hyperseg_export.checkpoint.random_weights import RandomCheckpoint
from hyperseg_export.checkpoint.safetensors_file import write_safetensors
from hyperseg_export.families.mask_queries.layout import Entry
from hyperseg_export.modules.swin import relative_position_index

SHARDS = 2
TABLES = frozenset(
    {"model.embed_tokens.weight", "seg_query", "temporal_query", "level_embed.weight"}
    | {"predictor.query_embed.weight", "predictor.level_embed.weight"}
    | {"pixel_decoder.transformer.level_embed"}
)
"""Tensors whose rows are used as they are: they keep unit variance."""
OFFSET_SPREAD_PX = 2.0
"""Samples of deformable attention land a few pixels away, some outside the map."""


def random_checkpoint(
    layout: Iterable[Entry],
    swin_window: int,
    seed: int,
    of_family: Callable[[str, Tensor], Tensor | None] = lambda name, noise: None,
) -> RandomCheckpoint:
    """All tensors of a layout, made on demand. `of_family` may give other values than the rules here, see
    `RandomCheckpoint`.
    """

    def special(name: str, noise: Tensor) -> Tensor | None:
        own = of_family(name, noise)
        if own is not None:
            return own
        if name.endswith("relative_position_index"):
            return relative_position_index(swin_window)
        if name.endswith("sampling_offsets.bias"):
            return OFFSET_SPREAD_PX * noise
        if name == "pixel_decoder.mask_features.weight":
            # Its inputs are all positive; without a constant part masks cover some of the image, not all or none.
            return (noise - noise.mean(1, keepdim=True)) / math.sqrt(noise.shape[1])
        return noise if name in TABLES else None

    return RandomCheckpoint(layout, seed, special)


def write_tensors(directory: Path, source: TensorSource, config: dict[str, Any]) -> None:
    """config.json, generation_config.json, and two safetensors shards with an index, each in memory at once."""
    names = sorted(source.shapes)
    weight_map, total = {}, 0
    for shard in range(SHARDS):
        file = f"model-{shard + 1:05}-of-{SHARDS:05}.safetensors"
        tensors = {name: source.tensor(name).contiguous() for name in names[shard::SHARDS]}
        layout = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
        write_safetensors(directory / file, layout, tensors.__getitem__)
        weight_map.update(dict.fromkeys(tensors, file))
        total += sum(tensor.nbytes for tensor in tensors.values())
    write_json(directory / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})
    write_config(directory, config)


def write_config(directory: Path, config: dict[str, Any]) -> None:
    """config.json and generation_config.json."""
    write_json(directory / CONFIG, config)
    write_json(directory / "generation_config.json", {"_from_model_config": True, "do_sample": False})


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
