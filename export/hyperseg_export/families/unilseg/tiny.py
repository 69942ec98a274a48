"""A UniLSeg checkpoint in miniature: the released layout, random weights, the vocabulary of the release."""

import json
import math
from pathlib import Path

import torch
from torch import Tensor

from hyperseg_export.checkpoint.folder import CONFIG
from hyperseg_export.checkpoint.pickle_file import PREFIX, STATE_DICT
from hyperseg_export.checkpoint.random_weights import RandomCheckpoint, batch_norm_statistics
from hyperseg_export.families.unilseg.layout import Sizes, tensor_layout
from hyperseg_export.modules.swin import relative_position_index

FILE = "UniLSeg_tiny.pth"

TINY = Sizes(
    image_px=128,
    width=64,
    text_mlp_width=128,
    text_layers=2,
    state_width=48,
    vision_width=64,
    vision_layers=1,
    vision_image_px=32,
    swin_width=16,
    swin_depths=(2, 2, 2, 2),
    swin_heads=(1, 2, 4, 8),
    fpn_mlp_width=128,
    mask_width=64,
    decoder_layers=2,
    decoder_mlp_width=128,
)
"""Sentences go through the release's tokenizer, so every one of its ids has an embedding here too."""

MASK_CONTRAST = 2.0
BALANCED_SPREAD = 0.03
BALANCED = tuple(f"pixel_decoder.mask_features.1.{kind}" for kind in ("bias", "running_mean"))


def random_checkpoint(sizes: Sizes, seed: int) -> RandomCheckpoint:
    """All tensors of a UniLSeg of these sizes, made on demand; names without "module."."""

    def special(name: str, noise: Tensor) -> Tensor | None:
        if name.endswith("relative_position_index"):
            return relative_position_index(sizes.swin_window)
        if name == "pixel_decoder.mask_features.0.weight":
            # Kernels without a constant part and a last norm without a preferred channel: logits lie around zero.
            kernels = noise - noise.mean((2, 3), keepdim=True)
            return MASK_CONTRAST * kernels / math.sqrt(noise[0].numel())
        if name in BALANCED:
            return BALANCED_SPREAD * noise
        if name == "query_decoder.query_transformer.decoder.norm.weight":
            return 1 + BALANCED_SPREAD * noise
        if name == "query_decoder.query_transformer.decoder.norm.bias":
            return BALANCED_SPREAD * (noise - noise.mean())
        return batch_norm_statistics(name, noise)

    return RandomCheckpoint(tensor_layout(sizes), seed, special)


def write_checkpoint(directory: Path, sizes: Sizes, seed: int, file: str = FILE) -> None:
    """The pickle `file` as it is released, and a config.json with what its tensors do not tell."""
    checkpoint = random_checkpoint(sizes, seed)
    tensors = {f"{PREFIX}{name}": checkpoint.tensor(name).contiguous() for name in checkpoint.shapes}
    torch.save({STATE_DICT: tensors}, directory / file)
    config = json.dumps(sizes.config(), indent=2)
    (directory / CONFIG).write_text(config + "\n", encoding="utf-8")
