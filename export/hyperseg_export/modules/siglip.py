"""SigLIP image tower (arXiv 2303.15343), up to the layer whose output is used."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hyperseg_export.modules.attention import attend
from hyperseg_export.modules.islands import Island
from hyperseg_export.modules.linear import Linear, Mlp
from hyperseg_export.modules.norms import LayerNorm
from hyperseg_export.modules.residual import ResidualStream


@dataclass(frozen=True)
class SiglipConfig:
    width: int
    mlp_width: int
    layers: int  # layers in use: later ones, the post-norm and the pooling head are never built
    heads: int
    patch_px: int
    image_px: int
    norm_eps: float

    @property
    def tokens(self) -> int:
        """Patches of one image; pixels past the last whole patch are not read."""
        return (self.image_px // self.patch_px) ** 2


class TanhGelu(nn.GELU):
    island = Island("SigLIP's activation, another of its drift points (NVIDIA/TensorRT-Model-Connect#812)")


class SiglipLayer(nn.Module):
    """Pre-norm transformer layer with q, k and v in one matrix product."""

    def __init__(self, config: SiglipConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.norm1 = LayerNorm(config.width, config.norm_eps)
        self.qkv = Linear(config.width, 3 * config.width)
        self.out = Linear(config.width, config.width)
        self.norm2 = LayerNorm(config.width, config.norm_eps)
        self.mlp = Mlp((config.width, config.mlp_width, config.width), TanhGelu("tanh"))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(self.norm1(x)).chunk(3, dim=-1)
        x = x + self.out(attend(query, key, value, self.heads))
        return x + self.mlp(self.norm2(x))


class SiglipTower(nn.Module):
    """images (B, 3, image_px, image_px) -> tokens (B, N, width), row-major over the patch grid."""

    def __init__(self, config: SiglipConfig) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, config.width, config.patch_px, stride=config.patch_px)
        self.position_embed = nn.Parameter(torch.empty(config.tokens, config.width))
        self.stream = ResidualStream()
        self.layers = nn.ModuleList(SiglipLayer(config) for _ in range(config.layers))

    def embed(self, images: Tensor) -> Tensor:
        """Patches plus positions: the input of the first layer."""
        patches: Tensor = self.patch_embed(images).flatten(2).transpose(1, 2)
        return patches + self.position_embed

    def forward(self, images: Tensor) -> Tensor:
        x = self.stream(self.embed(images))
        for layer in self.layers:
            x = layer(x)
        return x
