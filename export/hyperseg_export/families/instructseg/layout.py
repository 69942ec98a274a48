"""Every tensor of a published InstructSeg checkpoint for given sizes: name, shape, dtype."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from hyperseg_export.families.mask_queries import layout as shared
from hyperseg_export.families.mask_queries.layout import Entry, Names, affine, typed
from hyperseg_export.families.release_constants import EXTENSION_KEY

LAYERS, MLP_FACTOR = 3, 2
"""Of both perceivers."""


@dataclass(frozen=True)
class Sizes(shared.TowerSizes):
    """The numbers a checkpoint is made of. Defaults are the published 3B model's, in which inner widths, the fusion's
    width and res5's channels happen to be the same.
    """

    context: int = 1536
    perceiver_heads: int = 8
    perceiver_inner: int = 1024
    perceiver_queries: int = 128
    fusion_width: int = 1024
    fusion_heads: int = 8
    fusion_inner: int = 1024
    reference_frames: int = 4

    def config(self) -> dict[str, Any]:
        """config.json of such a checkpoint: the published keys, and ours for what those cannot tell."""
        return {
            "architectures": ["InstructSeg"],
            **self.language_config(),
            EXTENSION_KEY: {
                "image_px": self.image_px,
                "context": self.context,
                "perceiver_heads": self.perceiver_heads,
                "fusion_heads": self.fusion_heads,
                "reference_frames": self.reference_frames,
                "mask_heads": self.mask_heads,
            },
        }


def tensor_layout(sizes: Sizes) -> Iterator[Entry]:
    """Language side in float16, mask side and perceivers in float32, index buffers in int64, as published."""
    yield from typed(shared.phi(sizes), torch.float16)
    yield "lm_head.weight", (sizes.logit_rows, sizes.width), torch.float16
    yield from typed(shared.siglip(sizes), torch.float16)
    yield from typed(shared.swin(sizes), torch.float32)
    yield from typed(_perceivers(sizes), torch.float32)
    yield from typed(shared.pixel_decoder(sizes), torch.float32)
    width = sizes.mask_width
    yield from typed(shared.predictor(sizes, {"mask_embed": (width,) * 3, "SEG_proj": (width,) * 2}), torch.float32)
    yield from typed(_projectors(sizes), torch.float32)


def _perceivers(sizes: Sizes) -> Names:
    yield "temporal_query", (sizes.perceiver_queries, sizes.width)
    yield from _latent_layers("ovp_layers", sizes.width, sizes.perceiver_inner)
    yield from _latent_layers("vmtf_layers", sizes.fusion_width, sizes.fusion_inner)
    coarsest = sizes.swin_width << len(sizes.swin_depths) - 1
    yield from affine("local_project", sizes.fusion_width, coarsest, 1, 1)


def _latent_layers(name: str, width: int, inner: int) -> Names:
    for index in range(LAYERS):
        layer = f"{name}.layers.{index}"
        yield from affine(f"{layer}.0.norm_media", width)
        yield from affine(f"{layer}.0.norm_latents", width)
        yield f"{layer}.0.to_q.weight", (inner, width)
        yield f"{layer}.0.to_kv.weight", (2 * inner, width)
        yield f"{layer}.0.to_out.weight", (width, inner)
        yield from affine(f"{layer}.1.0", width)
        yield f"{layer}.1.1.weight", (MLP_FACTOR * width, width)
        yield f"{layer}.1.3.weight", (width, MLP_FACTOR * width)
    yield from affine(f"{name}.norm", width)


def _projectors(sizes: Sizes) -> Names:
    yield "seg_query", (sizes.mask_queries, sizes.width)
    yield from affine("seg_query_projector", sizes.mask_width, sizes.width)
    yield from affine("text_vmtf_projector", sizes.fusion_width, sizes.width)
    yield from affine("origin_SEG_token_projector", sizes.fusion_width, sizes.width)
    yield from affine("SEG_token_projector", sizes.mask_width, 2 * sizes.fusion_width)
