"""Every tensor of a published HyperSeg checkpoint for given sizes: name, shape, dtype."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from hyperseg_export.families.mask_queries import layout as shared
from hyperseg_export.families.mask_queries.layout import PYRAMID_LEVELS, Entry, Names, affine, typed
from hyperseg_export.families.release_constants import EXTENSION_KEY


@dataclass(frozen=True)
class Sizes(shared.TowerSizes):
    """The numbers a checkpoint is made of. Defaults are the published 3B model's."""

    perceiver_width: int = 512
    perceiver_heads: int = 8
    perceiver_queries: int = 128
    gated_perceiver: bool = False
    """With the paper's gate in place of the release's residual MLP."""
    prompt_frames: int = 1
    reidentification: bool = False

    def config(self) -> dict[str, Any]:
        """config.json of such a checkpoint: the published keys, and ours for what those cannot tell."""
        options = {"prompt_frames": self.prompt_frames} if self.prompt_frames > 1 else {}
        options |= {"reidentification": True} if self.reidentification else {}
        return {
            "architectures": ["HyperSeg"],
            **self.language_config(),
            EXTENSION_KEY: {
                "image_px": self.image_px,
                "context": self.context,
                "perceiver_heads": self.perceiver_heads,
                "mask_heads": self.mask_heads,
                **options,
            },
        }


def tensor_layout(sizes: Sizes) -> Iterator[Entry]:
    """Language side in float16, mask side in float32, index buffers in int64, as published."""
    yield from typed(shared.phi(sizes), torch.float16)
    yield "lm_head.weight", (sizes.logit_rows, sizes.width), torch.float16
    yield from typed(shared.siglip(sizes), torch.float16)
    yield from typed(shared.swin(sizes), torch.float32)
    yield from typed(_perceiver(sizes), torch.float32)
    yield from typed(shared.pixel_decoder(sizes), torch.float32)
    yield from typed(shared.predictor(sizes, _heads(sizes.mask_width)), torch.float32)
    yield from typed(affine("predictor.iou_head", 1, sizes.mask_width), torch.float32)
    yield from typed(_projectors(sizes), torch.float32)
    yield from typed(affine("region_projector", sizes.mask_width, sizes.width), torch.float16)


def _heads(width: int) -> shared.Heads:
    return {
        "mask_embed": (width, width, width),
        "box_embed": (width, width, 4),
        "reid_embed_head": (width, width, width),
        "SEG_proj": (width, width),
        "CLASS_proj": (width, width),
        "REGION_proj": (width, width),
    }


def _perceiver(sizes: Sizes) -> Names:
    width = sizes.perceiver_width
    yield "temporal_query", (sizes.perceiver_queries, width)
    yield "level_embed.weight", (PYRAMID_LEVELS, width)
    for index in range(PYRAMID_LEVELS):
        yield from affine(f"local_project.{index}", width, sizes.swin_width << index + 1, 1, 1)
        layer = f"mgvp_layers.layers.{index}"
        yield from affine(f"{layer}.0.norm_media", width)
        yield from affine(f"{layer}.0.norm_latents", width)
        yield f"{layer}.0.to_q.weight", (width, width)
        yield f"{layer}.0.to_kv.weight", (2 * width, width)
        yield f"{layer}.0.to_out.weight", (width, width)
        yield from _gate(f"{layer}.gate", width) if sizes.gated_perceiver else _residual_mlp(f"{layer}.1", width)
    yield from affine("mgvp_layers.norm", width)
    yield from affine("expanded_seg_query_project", sizes.width, width)
    yield from affine("temporal_query_project", width, sizes.width)


def _residual_mlp(name: str, width: int) -> Names:
    yield from affine(f"{name}.0", width)
    yield f"{name}.1.weight", (4 * width, width)
    yield f"{name}.3.weight", (width, 4 * width)


def _gate(name: str, width: int) -> Names:
    yield from affine(f"{name}.0", 4 * width, width)
    yield from affine(f"{name}.2", width, 4 * width)


def _projectors(sizes: Sizes) -> Names:
    yield "seg_query", (sizes.mask_queries, sizes.width)
    for name in ("seg_query_projector", "SEG_token_projector", "class_name_projector"):
        yield from affine(name, sizes.mask_width, sizes.width)
