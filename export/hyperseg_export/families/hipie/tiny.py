"""A HIPIE checkpoint in miniature: the released layout, random weights, the vocabulary of the release."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from hyperseg_export.checkpoint.folder import CONFIG
from hyperseg_export.checkpoint.random_weights import Entry, RandomCheckpoint, batch_norm_statistics
from hyperseg_export.families.hipie.layout import ResnetSizes, Sizes, second_names, tensor_layout

FILE = "hipie_tiny.pth"
MODEL = "model"
"""Key of the tensors in a released file."""

TINY = Sizes(
    backbone=ResnetSizes(8, (8, 16, 32, 64), (1, 1, 1, 1)),
    text_width=48,
    text_mlp_width=96,
    text_layers=2,
    text_heads=4,
    width=64,
    mlp_width=96,
    fusion_width=128,
    encoder_layers=2,
    decoder_layers=2,
    proposals=20,
    background=3,
    vector_encoder_layers=2,
    vector_decoder_layers=2,
    vectors=12,
    criterion_classes=4,
    short_px=128,
    long_px=256,
)
"""Texts go through the release's tokenizer, so every one of its ids has an embedding here too."""


class TiedCheckpoint:
    """Random tensors made on demand, some of which have several names."""

    def __init__(self, sizes: Sizes, seed: int) -> None:
        self._tensors = RandomCheckpoint(_entries(sizes), seed, batch_norm_statistics)
        self._first = second_names(sizes)
        self.shapes, self.dtypes = self._tensors.shapes, self._tensors.dtypes

    def tensor(self, name: str) -> Tensor:
        return self._tensors.tensor(self._first.get(name, name))


def _entries(sizes: Sizes) -> Iterator[Entry]:
    return ((name, shape, torch.float32) for name, shape in tensor_layout(sizes))


def write_checkpoint(directory: Path, sizes: Sizes, seed: int, file: str = FILE) -> None:
    """The pickle `file` as it is released, and a config.json with what its tensors do not tell."""
    checkpoint = TiedCheckpoint(sizes, seed)
    second = second_names(sizes)
    tensors = {name: checkpoint.tensor(name) for name in checkpoint.shapes if name not in second}
    tensors |= {name: tensors[first] for name, first in second.items()}
    torch.save({MODEL: {name: tensors[name] for name in checkpoint.shapes}}, directory / file)
    config = json.dumps(sizes.config(), indent=2)
    (directory / CONFIG).write_text(config + "\n", encoding="utf-8")
