"""Every tensor of a published PSALM checkpoint for given sizes (psalm-spec 9): name, shape, dtype."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from hyperseg_export.families.mask_queries import layout as shared
from hyperseg_export.families.mask_queries.layout import Entry, Names, affine, typed
from hyperseg_export.families.psalm.config import BLOCK, SWIN
from hyperseg_export.families.release_constants import EXTENSION_KEY


@dataclass(frozen=True)
class Sizes(shared.LanguageSizes):
    """The numbers a checkpoint is made of. Defaults are the published model's: a Phi-1.5."""

    width: int = 2048
    mlp_width: int = 8192
    layers: int = 24
    token_rows: int = 50297
    planes: int = 2048

    def config(self) -> dict[str, Any]:
        """config.json of such a checkpoint: the published keys, and ours for what those cannot tell."""
        return {
            "architectures": ["PSALM"],
            **self.language_config(),
            "model_type": "llava_phi",
            "partial_rotary_factor": 0.5,
            "mm_projector_type": "swin_conv",
            "mm_input_embeds": 8 * self.swin_width,
            "projector_outdim": self.width,
            EXTENSION_KEY: {"image_px": self.image_px, "context": self.context, "mask_heads": self.mask_heads},
        }


def tensor_layout(sizes: Sizes) -> Iterator[Entry]:
    """All in float32, index buffers and counters in int64."""
    names = (
        *shared.phi(sizes, _fused_attention),
        ("lm_head.weight", (sizes.token_rows, sizes.width)),
        *shared.swin(sizes, SWIN),
        *_projector(sizes),
        *shared.pixel_decoder(sizes),
        *shared.predictor(sizes, _heads(sizes.mask_width)),
        *_projections(sizes),
    )
    for name, shape, dtype in typed(iter(names), torch.float32):
        yield name, shape, torch.int64 if name.endswith("num_batches_tracked") else dtype


def _heads(width: int) -> shared.Heads:
    return {
        "mask_embed": (width, width, width),
        "SEG_proj": (width, width),
        "CLASS_proj": (width, width),
        "REGION_proj": (width, width),
    }


def _fused_attention(layer: str, width: int) -> Names:
    yield from affine(f"{layer}.self_attn.query_key_value", 3 * width, width)


def _projector(sizes: Sizes) -> Names:
    channels, planes = 8 * sizes.swin_width, sizes.planes
    yield f"{BLOCK}.conv1.weight", (planes, channels, 3, 3)
    yield from _batch_norm(f"{BLOCK}.bn1", planes)
    yield f"{BLOCK}.conv2.weight", (planes, planes, 3, 3)
    yield from _batch_norm(f"{BLOCK}.bn2", planes)
    yield f"{BLOCK}.downsample.0.weight", (planes, channels, 1, 1)
    yield from _batch_norm(f"{BLOCK}.downsample.1", planes)
    yield from affine("model.mm_projector.fc", sizes.width, planes)


def _batch_norm(name: str, width: int) -> Names:
    yield from affine(name, width)
    yield f"{name}.running_mean", (width,)
    yield f"{name}.running_var", (width,)
    yield f"{name}.num_batches_tracked", ()


def _projections(sizes: Sizes) -> Names:
    yield "seg_query", (sizes.mask_queries, sizes.width)
    for name in ("seg_query_projector", "SEG_token_projector", "class_name_projector", "region_projector"):
        yield from affine(name, sizes.mask_width, sizes.width)
