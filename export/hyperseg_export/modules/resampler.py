"""Perceiver resampler (arXiv 2204.14198) over several feature maps: HyperSeg's fine-grained visual perceiver.

Released with plain residuals (hyperseg-spec 6.4), described with gated ones (arXiv 2411.17606, equations 5 and 6).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hyperseg_export.modules.attention import attend
from hyperseg_export.modules.linear import Linear, Mlp, gelu
from hyperseg_export.modules.norms import LayerNorm


@dataclass(frozen=True)
class ResamplerConfig:
    width: int
    heads: int
    head_width: int
    mlp_width: int
    queries: int
    map_channels: tuple[int, ...]  # one map per layer, in layer order
    out_width: int
    norm_eps: float = 1e-5
    gated: bool = False  # layers as in the paper, not as in the release; `mlp_width` is then that of the gate


class MapAttention(nn.Module):
    """Latents (B, F, width) attend to one map (B, N, width) and to themselves."""

    def __init__(self, config: ResamplerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        inner = config.heads * config.head_width
        self.norm_media = LayerNorm(config.width, config.norm_eps)
        self.norm_latents = LayerNorm(config.width, config.norm_eps)
        self.query = Linear(config.width, inner, bias=False)
        self.key_value = Linear(config.width, 2 * inner, bias=False)
        self.out = Linear(inner, config.width, bias=False)

    def attended(self, media: Tensor, latents: Tensor) -> Tensor:
        """What the latents find, (B, F, width)."""
        y = self.norm_latents(latents)
        key, value = self.key_value(torch.cat((self.norm_media(media), y), dim=1)).chunk(2, dim=-1)
        return self.out(attend(self.query(y), key, value, self.heads))


class ResamplerLayer(MapAttention):
    """What latents find is added to them; residual MLP after it."""

    def __init__(self, config: ResamplerConfig) -> None:
        super().__init__(config)
        self.norm_mlp = LayerNorm(config.width, config.norm_eps)
        self.mlp = Mlp((config.width, config.mlp_width, config.width), gelu, bias=False)

    def forward(self, media: Tensor, latents: Tensor) -> Tensor:
        latents = latents + self.attended(media, latents)
        return latents + self.mlp(self.norm_mlp(latents))


class GatedResamplerLayer(MapAttention):
    """Conditional weighted cross-attention: what latents find says itself how much of it counts.

    P' = CrossAttn(P, map), P + tanh(MLP(P')) * P' (arXiv 2411.17606, equations 5 and 6). A gate whose last layer is
    zeros, as training begins with, hands the latents on as they are. The attention is the release's.
    """

    def __init__(self, config: ResamplerConfig) -> None:
        super().__init__(config)
        self.gate = Mlp((config.width, config.mlp_width, config.width), gelu)

    def forward(self, media: Tensor, latents: Tensor) -> Tensor:
        found = self.attended(media, latents)
        return latents + torch.tanh(self.gate(found)) * found


class PerceiverResampler(nn.Module):
    """maps (B, c_i, h_i, w_i) and latents (B, F, width) -> tokens (B, F, out_width)."""

    def __init__(self, config: ResamplerConfig) -> None:
        super().__init__()
        self.local_project = nn.ModuleList(nn.Conv2d(channels, config.width, 1) for channels in config.map_channels)
        self.level_embed = nn.Parameter(torch.empty(len(config.map_channels), config.width))
        layer = GatedResamplerLayer if config.gated else ResamplerLayer
        self.layers = nn.ModuleList(layer(config) for _ in config.map_channels)
        self.norm = LayerNorm(config.width, config.norm_eps)
        self.out = Linear(config.width, config.out_width)

    def forward(self, maps: Sequence[Tensor], latents: Tensor) -> Tensor:
        levels = zip(self.layers, self.local_project, maps, self.level_embed, strict=True)
        for layer, project, feature, embed in levels:
            media = project(feature).flatten(2).transpose(1, 2) + embed
            latents = layer(media, latents)
        return self.out(self.norm(latents))
