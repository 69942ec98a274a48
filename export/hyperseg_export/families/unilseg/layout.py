"""Every tensor of a published UniLSeg checkpoint for given sizes: name without "module.", shape, dtype."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from hyperseg_export.families.release_constants import EXTENSION_KEY

Entry = tuple[str, tuple[int, ...], torch.dtype]
Names = Iterator[tuple[str, tuple[int, ...]]]

INTEGERS = ("relative_position_index", "num_batches_tracked")


@dataclass(frozen=True)
class Sizes:
    """The numbers a checkpoint is made of. Defaults are the published model's."""

    image_px: int = 480
    words: int = 17
    token_rows: int = 49408
    positions: int = 77
    width: int = 512  # word states, and maps in the pyramid
    text_mlp_width: int = 2048
    text_layers: int = 12
    state_width: int = 512
    vision_width: int = 768  # CLIP's image tower, stored and never used
    vision_layers: int = 12
    vision_patch_px: int = 16
    vision_image_px: int = 224
    swin_width: int = 128
    swin_depths: tuple[int, ...] = (2, 2, 18, 2)
    swin_heads: tuple[int, ...] = (4, 8, 16, 32)
    swin_window: int = 7
    swin_mlp_ratio: int = 4
    fpn_mlp_width: int = 2048
    mask_width: int = 256
    decoder_layers: int = 6
    decoder_mlp_width: int = 2048

    @property
    def map_channels(self) -> tuple[int, ...]:
        """Channels of res2, res3, ..."""
        return tuple(self.swin_width << stage for stage in range(len(self.swin_depths)))

    def config(self) -> dict[str, Any]:
        """config.json beside such a checkpoint: what its tensors cannot tell."""
        return {EXTENSION_KEY: {"image_px": self.image_px, "words": self.words}}


def tensor_layout(sizes: Sizes) -> Iterator[Entry]:
    """Everything in float32, counters and index buffers in int64, as published."""
    parts = (_text(sizes), _vision_tower(sizes), _swin(sizes), _fusion(sizes), _fpn(sizes), _query_decoder(sizes))
    for part in parts:
        for name, shape in part:
            yield name, shape, torch.int64 if name.endswith(INTEGERS) else torch.float32


def _affine(name: str, *shape: int) -> Names:
    """A weight and a bias over its first axis."""
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def _attention(name: str, width: int) -> Names:
    """Packed multi-head attention."""
    yield f"{name}.in_proj_weight", (3 * width, width)
    yield f"{name}.in_proj_bias", (3 * width,)
    yield from _affine(f"{name}.out_proj", width, width)


def _normalised(name: str, *shape: int) -> Names:
    """A layer without bias and the BatchNorm after it."""
    yield f"{name}.0.weight", shape
    yield from _affine(f"{name}.1", shape[0])
    yield f"{name}.1.running_mean", shape[:1]
    yield f"{name}.1.running_var", shape[:1]
    yield f"{name}.1.num_batches_tracked", ()


def _clip_layers(prefix: str, layers: int, width: int, mlp_width: int) -> Names:
    for index in range(layers):
        layer = f"{prefix}.resblocks.{index}"
        yield from _attention(f"{layer}.attn", width)
        yield from _affine(f"{layer}.ln_1", width)
        yield from _affine(f"{layer}.ln_2", width)
        yield from _affine(f"{layer}.mlp.c_fc", mlp_width, width)
        yield from _affine(f"{layer}.mlp.c_proj", width, mlp_width)


def _text(sizes: Sizes) -> Names:
    width = sizes.width
    yield "backbone.token_embedding.weight", (sizes.token_rows, width)
    yield "backbone.positional_embedding", (sizes.positions, width)
    yield from _clip_layers("backbone.transformer", sizes.text_layers, width, sizes.text_mlp_width)
    yield from _affine("backbone.ln_final", width)
    yield "backbone.text_projection", (width, sizes.state_width)
    yield "backbone.logit_scale", ()


def _vision_tower(sizes: Sizes) -> Names:
    tower, width, patch = "backbone.visual", sizes.vision_width, sizes.vision_patch_px
    yield f"{tower}.class_embedding", (width,)
    yield f"{tower}.positional_embedding", ((sizes.vision_image_px // patch) ** 2 + 1, width)
    yield f"{tower}.proj", (width, sizes.state_width)
    yield f"{tower}.conv1.weight", (width, 3, patch, patch)
    yield from _affine(f"{tower}.ln_pre", width)
    yield from _affine(f"{tower}.ln_post", width)
    yield from _clip_layers(f"{tower}.transformer", sizes.vision_layers, width, 4 * width)


def _swin(sizes: Sizes) -> Names:
    tower, side = "backbone_visual", 2 * sizes.swin_window - 1
    yield from _affine(f"{tower}.patch_embed.proj", sizes.swin_width, 3, 4, 4)
    yield from _affine(f"{tower}.patch_embed.norm", sizes.swin_width)
    stages = zip(sizes.map_channels, sizes.swin_depths, sizes.swin_heads, strict=True)
    for stage, (width, depth, heads) in enumerate(stages):
        for index in range(depth):
            block = f"{tower}.layers.{stage}.blocks.{index}"
            yield from _affine(f"{block}.norm1", width)
            yield from _affine(f"{block}.norm2", width)
            yield from _affine(f"{block}.attn.qkv", 3 * width, width)
            yield from _affine(f"{block}.attn.proj", width, width)
            yield f"{block}.attn.relative_position_bias_table", (side**2, heads)
            yield f"{block}.attn.relative_position_index", (sizes.swin_window**2,) * 2
            yield from _affine(f"{block}.mlp.fc1", sizes.swin_mlp_ratio * width, width)
            yield from _affine(f"{block}.mlp.fc2", width, sizes.swin_mlp_ratio * width)
        if stage < len(sizes.swin_depths) - 1:
            yield from _affine(f"{tower}.layers.{stage}.downsample.norm", 4 * width)
            yield f"{tower}.layers.{stage}.downsample.reduction.weight", (2 * width, 4 * width)
        yield from _affine(f"{tower}.norm{stage}", width)


def _fusion(sizes: Sizes) -> Names:
    *finer, coarsest = sizes.map_channels
    yield from _attention("fusion.multihead_attn", coarsest)
    yield from _affine("fusion_proj", coarsest, sizes.width)
    for level, channels in enumerate(finer):
        yield from _attention(f"all_fusion_module.{level}.multihead_attn", channels)
        yield from _affine(f"all_fusion_proj.{level}", channels, sizes.width)


def _norms_and_mlp(layer: str, width: int, mlp_width: int) -> Names:
    for number in (1, 2, 3):
        yield from _affine(f"{layer}.norm{number}", width)
    yield from _affine(f"{layer}.linear1", mlp_width, width)
    yield from _affine(f"{layer}.linear2", width, mlp_width)


def _fpn(sizes: Sizes) -> Names:
    width = sizes.width
    for number, channels in enumerate(sizes.map_channels, 1):
        yield from _normalised(f"pixel_decoder.adapter_{number}", width, channels, 1, 1)
        yield from _normalised(f"pixel_decoder.layer_{number}", width, width, 3, 3)
        block = f"pixel_decoder.cross_attn_{number}"
        yield from _attention(f"{block}.self_attn", width)
        yield from _attention(f"{block}.multihead_attn", width)
        yield from _norms_and_mlp(block, width, sizes.fpn_mlp_width)
    yield from _normalised("pixel_decoder.mask_features", sizes.mask_width, width, 3, 3)


def _query_decoder(sizes: Sizes) -> Names:
    width, decoder = sizes.mask_width, "query_decoder.query_transformer.decoder"
    yield from _normalised("query_decoder.visual_proj", width, sizes.map_channels[-1], 3, 3)
    yield from _normalised("query_decoder.text_proj", width, sizes.state_width)
    for index in range(sizes.decoder_layers):
        layer = f"{decoder}.layers.{index}"
        yield from _attention(f"{layer}.self_attn", width)
        yield from _attention(f"{layer}.multihead_attn", width)
        yield from _norms_and_mlp(layer, width, sizes.decoder_mlp_width)
    yield from _affine(f"{decoder}.norm", width)
