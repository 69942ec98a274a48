"""Perceiver layers (arXiv 2204.14198) whose media are turned into keys and values beforehand.

What media give does not depend on the latents, so a graph of its own can make it once for many latents. Both halves
hold the layers' norm and projection of media, by the same names.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hyperseg_export.modules.attention import attend
from hyperseg_export.modules.linear import Linear, Mlp, gelu
from hyperseg_export.modules.norms import LayerNorm


@dataclass(frozen=True)
class LatentConfig:
    width: int
    heads: int
    head_width: int
    mlp_width: int
    layers: int
    norm_eps: float = 1e-5

    @property
    def media_width(self) -> int:
        """Keys and values of all layers, for one row of media."""
        return self.layers * 2 * self.heads * self.head_width


def joined(*rows: Tensor) -> Tensor:
    """Keys and values one behind the other, in the type of the last: those of another graph come in float32."""
    return torch.cat([part.to(rows[-1].dtype) for part in rows], dim=1)


class MediaProjection(nn.Module):
    """media (B, N, width) -> keys and values (B, N, 2 * inner) of one layer."""

    def __init__(self, config: LatentConfig) -> None:
        super().__init__()
        self.norm_media = LayerNorm(config.width, config.norm_eps)
        self.key_value = Linear(config.width, 2 * config.heads * config.head_width, bias=False)

    def forward(self, media: Tensor) -> Tensor:
        return self.key_value(self.norm_media(media))


class MediaKeysValues(nn.Module):
    """media (B, N, width) -> keys and values of all layers side by side (B, N, `media_width`)."""

    def __init__(self, config: LatentConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MediaProjection(config) for _ in range(config.layers))

    def forward(self, media: Tensor) -> Tensor:
        return torch.cat([layer(media) for layer in self.layers], dim=-1)


class LatentLayer(nn.Module):
    """Latents attend to media and to latents; residual MLP after it."""

    def __init__(self, config: LatentConfig) -> None:
        super().__init__()
        self.heads = config.heads
        inner = config.heads * config.head_width
        self.norm_latents = LayerNorm(config.width, config.norm_eps)
        self.key_value = Linear(config.width, 2 * inner, bias=False)
        self.query = Linear(config.width, inner, bias=False)
        self.out = Linear(inner, config.width, bias=False)
        self.norm_mlp = LayerNorm(config.width, config.norm_eps)
        self.mlp = Mlp((config.width, config.mlp_width, config.width), gelu, bias=False)

    def forward(self, latents: Tensor, keys_values: Tensor, mask: Tensor | None = None) -> Tensor:
        """keys_values (B, S, 2 * inner) of media; mask as in `attend`, over media and the latents behind them."""
        y = self.norm_latents(latents)
        key, value = joined(keys_values, self.key_value(y)).chunk(2, dim=-1)
        latents = latents + self.out(attend(self.query(y), key, value, self.heads, mask))
        return latents + self.mlp(self.norm_mlp(latents))


class MediaLayer(LatentLayer):
    """One that also turns media into keys and values, as `MediaProjection` does."""

    def __init__(self, config: LatentConfig) -> None:
        super().__init__(config)
        self.norm_media = LayerNorm(config.width, config.norm_eps)

    def forward(self, latents: Tensor, media: Tensor, mask: Tensor | None = None, *given: Tensor) -> Tensor:
        """media (B, N, width); `given` are keys and values of further media, which stand before these."""
        keys_values = joined(*given, self.key_value(self.norm_media(media)))
        return super().forward(latents, keys_values, mask)
