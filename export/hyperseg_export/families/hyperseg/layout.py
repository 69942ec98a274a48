"""Every tensor of a published HyperSeg checkpoint for given sizes: name, shape, dtype."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from hyperseg_export.families.hyperseg.config_json import EXTENSION_KEY

Entry = tuple[str, tuple[int, ...], torch.dtype]

DEFORMABLE_POINTS = 4
PYRAMID_LEVELS = 3


@dataclass(frozen=True)
class Sizes:
    """The numbers a checkpoint is made of. Defaults are the published 3B model's."""

    image_px: int = 1024
    context: int = 1280
    width: int = 2560
    mlp_width: int = 10240
    layers: int = 32
    heads: int = 32
    max_positions: int = 2048
    token_rows: int = 50296
    logit_rows: int = 51200
    clip_width: int = 1152
    clip_mlp_width: int = 4304
    clip_layers: int = 27
    clip_heads: int = 16
    clip_image_px: int = 384
    clip_patch_px: int = 14
    swin_width: int = 128
    swin_depths: tuple[int, ...] = (2, 2, 18, 2)
    swin_heads: tuple[int, ...] = (4, 8, 16, 32)
    swin_window: int = 12
    perceiver_width: int = 512
    perceiver_heads: int = 8
    perceiver_queries: int = 128
    mask_width: int = 256
    mask_heads: int = 8
    mask_mlp_width: int = 2048
    mask_layers: int = 9
    mask_queries: int = 100
    pixel_layers: int = 6
    pixel_mlp_width: int = 1024

    def config(self) -> dict[str, Any]:
        """config.json of such a checkpoint: the published keys, and ours for what those cannot tell."""
        return {
            "architectures": ["HyperSeg"],
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
            "mm_vision_tower": "siglip",
            "swin_type": "base",
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
            EXTENSION_KEY: {
                "image_px": self.image_px,
                "context": self.context,
                "perceiver_heads": self.perceiver_heads,
                "mask_heads": self.mask_heads,
            },
        }


def tensor_layout(sizes: Sizes) -> Iterator[Entry]:
    """Language side in float16, mask side in float32, index buffers in int64, as published."""
    half, single = torch.float16, torch.float32
    for name, shape in (*_phi(sizes), *_siglip(sizes)):
        yield name, shape, half
    for name, shape in _swin(sizes):
        yield name, shape, torch.int64 if name.endswith("relative_position_index") else single
    for name, shape in (*_perceiver(sizes), *_pixel_decoder(sizes), *_predictor(sizes), *_projectors(sizes)):
        yield name, shape, half if name.startswith("region_projector.") else single


Names = Iterator[tuple[str, tuple[int, ...]]]


def _affine(name: str, *shape: int) -> Names:
    """A weight and a bias over its first axis."""
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def _phi(sizes: Sizes) -> Names:
    width = sizes.width
    yield "model.embed_tokens.weight", (sizes.token_rows, width)
    for index in range(sizes.layers):
        layer = f"model.layers.{index}"
        for projection in ("q_proj", "k_proj", "v_proj", "dense"):
            yield from _affine(f"{layer}.self_attn.{projection}", width, width)
        yield from _affine(f"{layer}.mlp.fc1", sizes.mlp_width, width)
        yield from _affine(f"{layer}.mlp.fc2", width, sizes.mlp_width)
        yield from _affine(f"{layer}.input_layernorm", width)
    yield from _affine("model.final_layernorm", width)
    yield from _affine("model.mm_projector.0", width, sizes.clip_width)
    yield from _affine("model.mm_projector.2", width, width)
    yield "lm_head.weight", (sizes.logit_rows, width)


def _siglip(sizes: Sizes) -> Names:
    tower, width = "model.vision_tower.vision_model", sizes.clip_width
    yield from _affine(f"{tower}.embeddings.patch_embedding", width, 3, sizes.clip_patch_px, sizes.clip_patch_px)
    patches = (sizes.clip_image_px // sizes.clip_patch_px) ** 2
    yield f"{tower}.embeddings.position_embedding.weight", (patches, width)
    for index in range(sizes.clip_layers):
        layer = f"{tower}.encoder.layers.{index}"
        for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from _affine(f"{layer}.self_attn.{projection}", width, width)
        yield from _affine(f"{layer}.layer_norm1", width)
        yield from _affine(f"{layer}.layer_norm2", width)
        yield from _clip_mlp(f"{layer}.mlp", sizes)
    yield from _affine(f"{tower}.post_layernorm", width)
    head = f"{tower}.head"
    yield f"{head}.probe", (1, 1, width)
    yield f"{head}.attention.in_proj_weight", (3 * width, width)
    yield f"{head}.attention.in_proj_bias", (3 * width,)
    yield from _affine(f"{head}.attention.out_proj", width, width)
    yield from _affine(f"{head}.layernorm", width)
    yield from _clip_mlp(f"{head}.mlp", sizes)


def _clip_mlp(name: str, sizes: Sizes) -> Names:
    yield from _affine(f"{name}.fc1", sizes.clip_mlp_width, sizes.clip_width)
    yield from _affine(f"{name}.fc2", sizes.clip_width, sizes.clip_mlp_width)


def _swin(sizes: Sizes) -> Names:
    tower = "model.vision_tower_mask"
    yield from _affine(f"{tower}.patch_embed.proj", sizes.swin_width, 3, 4, 4)
    yield from _affine(f"{tower}.patch_embed.norm", sizes.swin_width)
    tokens, offsets = sizes.swin_window**2, (2 * sizes.swin_window - 1) ** 2
    for stage, (depth, heads) in enumerate(zip(sizes.swin_depths, sizes.swin_heads, strict=True)):
        width = sizes.swin_width << stage
        for index in range(depth):
            block = f"{tower}.layers.{stage}.blocks.{index}"
            yield from _affine(f"{block}.norm1", width)
            yield f"{block}.attn.relative_position_bias_table", (offsets, heads)
            yield f"{block}.attn.relative_position_index", (tokens, tokens)
            yield from _affine(f"{block}.attn.qkv", 3 * width, width)
            yield from _affine(f"{block}.attn.proj", width, width)
            yield from _affine(f"{block}.norm2", width)
            yield from _affine(f"{block}.mlp.fc1", 4 * width, width)
            yield from _affine(f"{block}.mlp.fc2", width, 4 * width)
        if stage < len(sizes.swin_depths) - 1:
            yield f"{tower}.layers.{stage}.downsample.reduction.weight", (2 * width, 4 * width)
            yield from _affine(f"{tower}.layers.{stage}.downsample.norm", 4 * width)
        yield from _affine(f"{tower}.norm{stage}", width)


def _perceiver(sizes: Sizes) -> Names:
    width = sizes.perceiver_width
    yield "temporal_query", (sizes.perceiver_queries, width)
    yield "level_embed.weight", (PYRAMID_LEVELS, width)
    for index in range(PYRAMID_LEVELS):
        yield from _affine(f"local_project.{index}", width, sizes.swin_width << index + 1, 1, 1)
        layer = f"mgvp_layers.layers.{index}"
        yield from _affine(f"{layer}.0.norm_media", width)
        yield from _affine(f"{layer}.0.norm_latents", width)
        yield f"{layer}.0.to_q.weight", (width, width)
        yield f"{layer}.0.to_kv.weight", (2 * width, width)
        yield f"{layer}.0.to_out.weight", (width, width)
        yield from _affine(f"{layer}.1.0", width)
        yield f"{layer}.1.1.weight", (4 * width, width)
        yield f"{layer}.1.3.weight", (width, 4 * width)
    yield from _affine("mgvp_layers.norm", width)
    yield from _affine("expanded_seg_query_project", sizes.width, width)
    yield from _affine("temporal_query_project", width, sizes.width)


def _pixel_decoder(sizes: Sizes) -> Names:
    width = sizes.mask_width
    for index in range(PYRAMID_LEVELS):
        channels = sizes.swin_width << PYRAMID_LEVELS - index
        yield from _affine(f"pixel_decoder.input_proj.{index}.0", width, channels, 1, 1)
        yield from _affine(f"pixel_decoder.input_proj.{index}.1", width)
    yield "pixel_decoder.transformer.level_embed", (PYRAMID_LEVELS, width)
    samples = sizes.mask_heads * PYRAMID_LEVELS * DEFORMABLE_POINTS
    for index in range(sizes.pixel_layers):
        layer = f"pixel_decoder.transformer.encoder.layers.{index}"
        yield from _affine(f"{layer}.self_attn.sampling_offsets", 2 * samples, width)
        yield from _affine(f"{layer}.self_attn.attention_weights", samples, width)
        yield from _affine(f"{layer}.self_attn.value_proj", width, width)
        yield from _affine(f"{layer}.self_attn.output_proj", width, width)
        yield from _affine(f"{layer}.norm1", width)
        yield from _affine(f"{layer}.linear1", sizes.pixel_mlp_width, width)
        yield from _affine(f"{layer}.linear2", width, sizes.pixel_mlp_width)
        yield from _affine(f"{layer}.norm2", width)
    yield from _affine("pixel_decoder.mask_features", width, width, 1, 1)
    yield from _affine("pixel_decoder.adapter_1.0", width, sizes.swin_width, 1, 1)
    yield from _affine("pixel_decoder.adapter_1.1", width)
    yield from _affine("pixel_decoder.layer_1.0", width, width, 3, 3)
    yield from _affine("pixel_decoder.layer_1.1", width)


def _predictor(sizes: Sizes) -> Names:
    width = sizes.mask_width
    for index in range(sizes.mask_layers):
        own = f"predictor.transformer_self_attention_layers.{index}"
        cross = f"predictor.transformer_cross_attention_layers.{index}"
        for name, norm in ((f"{own}.self_attn", own), (f"{cross}.multihead_attn", cross)):
            yield f"{name}.in_proj_weight", (3 * width, width)
            yield f"{name}.in_proj_bias", (3 * width,)
            yield from _affine(f"{name}.out_proj", width, width)
            yield from _affine(f"{norm}.norm", width)
        mlp = f"predictor.transformer_ffn_layers.{index}"
        yield from _affine(f"{mlp}.linear1", sizes.mask_mlp_width, width)
        yield from _affine(f"{mlp}.linear2", width, sizes.mask_mlp_width)
        yield from _affine(f"{mlp}.norm", width)
    yield from _affine("predictor.decoder_norm", width)
    yield "predictor.query_feat.weight", (sizes.mask_queries, width)
    yield "predictor.query_embed.weight", (sizes.mask_queries, width)
    yield "predictor.SEG_query_embed.weight", (sizes.mask_queries + 1, width)
    yield "predictor.level_embed.weight", (PYRAMID_LEVELS, width)
    for head, outputs in (
        ("mask_embed", (width, width, width)),
        ("box_embed", (width, width, 4)),
        ("reid_embed_head", (width, width, width)),
        ("SEG_proj", (width, width)),
        ("CLASS_proj", (width, width)),
        ("REGION_proj", (width, width)),
    ):
        for index, out in enumerate(outputs):
            yield from _affine(f"predictor.{head}.layers.{index}", out, width)
    yield from _affine("predictor.iou_head", 1, width)


def _projectors(sizes: Sizes) -> Names:
    yield "seg_query", (sizes.mask_queries, sizes.width)
    for name in ("seg_query_projector", "SEG_token_projector", "class_name_projector", "region_projector"):
        yield from _affine(name, sizes.mask_width, sizes.width)
