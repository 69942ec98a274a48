"""Tensors that published checkpoints share, for given sizes: name, shape, dtype."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

Entry = tuple[str, tuple[int, ...], torch.dtype]
Names = Iterator[tuple[str, tuple[int, ...]]]
Heads = Mapping[str, tuple[int, ...]]

DEFORMABLE_POINTS = 4
PYRAMID_LEVELS = 3


@dataclass(frozen=True)
class LanguageSizes:
    """The numbers a checkpoint is made of. Defaults are those of a Phi-2, a Swin-B and a Mask2Former as published."""

    image_px: int = 1024
    context: int = 1280
    width: int = 2560
    mlp_width: int = 10240
    layers: int = 32
    heads: int = 32
    max_positions: int = 2048
    token_rows: int = 50296
    swin_width: int = 128
    swin_depths: tuple[int, ...] = (2, 2, 18, 2)
    swin_heads: tuple[int, ...] = (4, 8, 16, 32)
    swin_window: int = 12
    mask_width: int = 256
    mask_heads: int = 8
    mask_mlp_width: int = 2048
    mask_layers: int = 9
    mask_queries: int = 100
    pixel_layers: int = 6
    pixel_mlp_width: int = 1024

    def language_config(self) -> dict[str, Any]:
        """The published keys of config.json that every such checkpoint has."""
        return {
            "model_type": "mipha_phi",
            "hidden_act": "gelu_new",
            "hidden_size": self.width,
            "intermediate_size": self.mlp_width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "partial_rotary_factor": 0.4,
            "rope_theta": 10000.0,
            "max_position_embeddings": self.max_positions,
            "layer_norm_eps": 1e-05,
            "qk_layernorm": False,
            "vocab_size": self.token_rows,
            "mask_decode_train": True,
            "swin_type": "base",
        }


@dataclass(frozen=True)
class TowerSizes(LanguageSizes):
    """With a SigLIP beside them, and a language model that writes answers."""

    logit_rows: int = 51200
    clip_width: int = 1152
    clip_mlp_width: int = 4304
    clip_layers: int = 27
    clip_heads: int = 16
    clip_image_px: int = 384
    clip_patch_px: int = 14

    def language_config(self) -> dict[str, Any]:
        return {
            **super().language_config(),
            "mm_vision_tower": "siglip",
            "vision_config": {
                "mm_projector": {
                    "hidden_size": self.width,
                    "mm_hidden_size": self.clip_width,
                    "mm_projector_type": "mlp2x_gelu",
                },
                "vision_tower": {
                    "hidden_size": self.clip_width,
                    "intermediate_size": self.clip_mlp_width,
                    "num_hidden_layers": self.clip_layers,
                    "num_attention_heads": self.clip_heads,
                    "image_size": self.clip_image_px,
                    "patch_size": self.clip_patch_px,
                    "layer_norm_eps": 1e-06,
                    "mm_vision_select_layer": -2,
                },
            },
        }


def typed(names: Names, dtype: torch.dtype) -> Iterator[Entry]:
    """Index buffers are int64 whatever the rest is."""
    for name, shape in names:
        yield name, shape, torch.int64 if name.endswith("relative_position_index") else dtype


def affine(name: str, *shape: int) -> Names:
    """A weight and a bias over its first axis."""
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def separate_attention(layer: str, width: int) -> Names:
    """Query, key and value have projections of their own."""
    for projection in ("q_proj", "k_proj", "v_proj"):
        yield from affine(f"{layer}.self_attn.{projection}", width, width)


def phi(sizes: LanguageSizes, attention: Callable[[str, int], Names] = separate_attention) -> Names:
    """`attention`: from the name and width of a layer to what makes query, key and value."""
    width = sizes.width
    yield "model.embed_tokens.weight", (sizes.token_rows, width)
    for index in range(sizes.layers):
        layer = f"model.layers.{index}"
        yield from attention(layer, width)
        yield from affine(f"{layer}.self_attn.dense", width, width)
        yield from affine(f"{layer}.mlp.fc1", sizes.mlp_width, width)
        yield from affine(f"{layer}.mlp.fc2", width, sizes.mlp_width)
        yield from affine(f"{layer}.input_layernorm", width)
    yield from affine("model.final_layernorm", width)


def siglip(sizes: TowerSizes) -> Names:
    """The image tower and its projection."""
    tower, width = "model.vision_tower.vision_model", sizes.clip_width
    yield from affine(f"{tower}.embeddings.patch_embedding", width, 3, sizes.clip_patch_px, sizes.clip_patch_px)
    patches = (sizes.clip_image_px // sizes.clip_patch_px) ** 2
    yield f"{tower}.embeddings.position_embedding.weight", (patches, width)
    for index in range(sizes.clip_layers):
        layer = f"{tower}.encoder.layers.{index}"
        for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from affine(f"{layer}.self_attn.{projection}", width, width)
        yield from affine(f"{layer}.layer_norm1", width)
        yield from affine(f"{layer}.layer_norm2", width)
        yield from _clip_mlp(f"{layer}.mlp", sizes)
    yield from affine(f"{tower}.post_layernorm", width)
    head = f"{tower}.head"
    yield f"{head}.probe", (1, 1, width)
    yield f"{head}.attention.in_proj_weight", (3 * width, width)
    yield f"{head}.attention.in_proj_bias", (3 * width,)
    yield from affine(f"{head}.attention.out_proj", width, width)
    yield from affine(f"{head}.layernorm", width)
    yield from _clip_mlp(f"{head}.mlp", sizes)
    yield from affine("model.mm_projector.0", sizes.width, width)
    yield from affine("model.mm_projector.2", sizes.width, sizes.width)


def _clip_mlp(name: str, sizes: TowerSizes) -> Names:
    yield from affine(f"{name}.fc1", sizes.clip_mlp_width, sizes.clip_width)
    yield from affine(f"{name}.fc2", sizes.clip_width, sizes.clip_mlp_width)


def swin(sizes: LanguageSizes, tower: str = "model.vision_tower_mask") -> Names:
    yield from affine(f"{tower}.patch_embed.proj", sizes.swin_width, 3, 4, 4)
    yield from affine(f"{tower}.patch_embed.norm", sizes.swin_width)
    tokens, offsets = sizes.swin_window**2, (2 * sizes.swin_window - 1) ** 2
    for stage, (depth, heads) in enumerate(zip(sizes.swin_depths, sizes.swin_heads, strict=True)):
        width = sizes.swin_width << stage
        for index in range(depth):
            block = f"{tower}.layers.{stage}.blocks.{index}"
            yield from affine(f"{block}.norm1", width)
            yield f"{block}.attn.relative_position_bias_table", (offsets, heads)
            yield f"{block}.attn.relative_position_index", (tokens, tokens)
            yield from affine(f"{block}.attn.qkv", 3 * width, width)
            yield from affine(f"{block}.attn.proj", width, width)
            yield from affine(f"{block}.norm2", width)
            yield from affine(f"{block}.mlp.fc1", 4 * width, width)
            yield from affine(f"{block}.mlp.fc2", width, 4 * width)
        if stage < len(sizes.swin_depths) - 1:
            yield f"{tower}.layers.{stage}.downsample.reduction.weight", (2 * width, 4 * width)
            yield from affine(f"{tower}.layers.{stage}.downsample.norm", 4 * width)
        yield from affine(f"{tower}.norm{stage}", width)


def pixel_decoder(sizes: LanguageSizes) -> Names:
    width = sizes.mask_width
    for index in range(PYRAMID_LEVELS):
        channels = sizes.swin_width << PYRAMID_LEVELS - index
        yield from affine(f"pixel_decoder.input_proj.{index}.0", width, channels, 1, 1)
        yield from affine(f"pixel_decoder.input_proj.{index}.1", width)
    yield "pixel_decoder.transformer.level_embed", (PYRAMID_LEVELS, width)
    samples = sizes.mask_heads * PYRAMID_LEVELS * DEFORMABLE_POINTS
    for index in range(sizes.pixel_layers):
        layer = f"pixel_decoder.transformer.encoder.layers.{index}"
        yield from affine(f"{layer}.self_attn.sampling_offsets", 2 * samples, width)
        yield from affine(f"{layer}.self_attn.attention_weights", samples, width)
        yield from affine(f"{layer}.self_attn.value_proj", width, width)
        yield from affine(f"{layer}.self_attn.output_proj", width, width)
        yield from affine(f"{layer}.norm1", width)
        yield from affine(f"{layer}.linear1", sizes.pixel_mlp_width, width)
        yield from affine(f"{layer}.linear2", width, sizes.pixel_mlp_width)
        yield from affine(f"{layer}.norm2", width)
    yield from affine("pixel_decoder.mask_features", width, width, 1, 1)
    yield from affine("pixel_decoder.adapter_1.0", width, sizes.swin_width, 1, 1)
    yield from affine("pixel_decoder.adapter_1.1", width)
    yield from affine("pixel_decoder.layer_1.0", width, width, 3, 3)
    yield from affine("pixel_decoder.layer_1.1", width)


def predictor(sizes: LanguageSizes, heads: Heads) -> Names:
    """`heads`: name of an MLP -> the width of each of its layers' outputs."""
    width = sizes.mask_width
    for index in range(sizes.mask_layers):
        own = f"predictor.transformer_self_attention_layers.{index}"
        cross = f"predictor.transformer_cross_attention_layers.{index}"
        for name, norm in ((f"{own}.self_attn", own), (f"{cross}.multihead_attn", cross)):
            yield f"{name}.in_proj_weight", (3 * width, width)
            yield f"{name}.in_proj_bias", (3 * width,)
            yield from affine(f"{name}.out_proj", width, width)
            yield from affine(f"{norm}.norm", width)
        mlp = f"predictor.transformer_ffn_layers.{index}"
        yield from affine(f"{mlp}.linear1", sizes.mask_mlp_width, width)
        yield from affine(f"{mlp}.linear2", width, sizes.mask_mlp_width)
        yield from affine(f"{mlp}.norm", width)
    yield from affine("predictor.decoder_norm", width)
    yield "predictor.query_feat.weight", (sizes.mask_queries, width)
    yield "predictor.query_embed.weight", (sizes.mask_queries, width)
    yield "predictor.SEG_query_embed.weight", (sizes.mask_queries + 1, width)
    yield "predictor.level_embed.weight", (PYRAMID_LEVELS, width)
    for head, outputs in heads.items():
        for index, out in enumerate(outputs):
            yield from affine(f"predictor.{head}.layers.{index}", out, width)
