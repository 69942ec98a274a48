"""Transformer decoder of one query, and the one mask it stands for (unilseg-spec 10 and 11)."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from hyperseg_export.modules.attention import CrossAttention
from hyperseg_export.modules.constants import ConstantModule
from hyperseg_export.modules.convolution import ConvRelu, to_tokens
from hyperseg_export.modules.linear import Linear, Mlp
from hyperseg_export.modules.norms import LayerNorm
from hyperseg_export.modules.positions import PIXEL_CENTRE, sine_positions


@dataclass(frozen=True)
class QueryDecoderConfig:
    width: int
    heads: int
    layers: int
    mlp_width: int
    map_channels: int
    state_width: int  # of a sentence's state
    norm_eps: float = 1e-5


class OneQuerySelfAttention(nn.Module):
    """What self-attention comes to with one query: softmax over one key is 1, so it returns its value."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.value = Linear(width, width)
        self.out = Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.value(x))


class QueryDecoderLayer(nn.Module):
    """Self-attention, cross-attention, MLP; each residual with a norm after it."""

    def __init__(self, config: QueryDecoderConfig) -> None:
        super().__init__()
        width = config.width
        self.self_attention = OneQuerySelfAttention(width)
        self.norm1 = LayerNorm(width, config.norm_eps)
        self.cross_attention = CrossAttention(width, config.heads)
        self.norm2 = LayerNorm(width, config.norm_eps)
        self.mlp = Mlp((width, config.mlp_width, width), relu)
        self.norm3 = LayerNorm(width, config.norm_eps)

    def forward(self, x: Tensor, query_position: Tensor, key: Tensor, memory: Tensor) -> Tensor:
        x = self.norm1(x + self.self_attention(x))
        x = self.norm2(x + self.cross_attention(x + query_position, key, memory))
        return self.norm3(x + self.mlp(x))


class QueryDecoder(ConstantModule):
    """coarsest map (B, c, h, w), sentence state (B, D) -> query state (B, 1, C) after the last norm.

    The sentence gives the query's position; its content starts at zero.
    """

    def __init__(self, config: QueryDecoderConfig, shape_hw: tuple[int, int]) -> None:
        super().__init__()
        self.memory = ConvRelu(config.map_channels, config.width, kernel=3)
        self.position = Linear(config.state_width, config.width)
        self.layers = nn.ModuleList(QueryDecoderLayer(config) for _ in range(config.layers))
        self.norm = LayerNorm(config.width, config.norm_eps)
        self.register_constant("sine", partial(sine_positions, *shape_hw, config.width, PIXEL_CENTRE))

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        memory = to_tokens(self.memory(x))
        key = memory + self.get_buffer("sine")
        position = relu(self.position(state)).unsqueeze(1)  # (B, 1, C)
        query = torch.zeros_like(position)
        for layer in self.layers:
            query = layer(query, position, key, memory)
        return self.norm(query)


class MaskProbabilities(nn.Module):
    """Mask logits (B, 1, h, w) -> probabilities (B, side, side): enlarged with corners aligned, then sigmoid."""

    def __init__(self, side_px: int) -> None:
        super().__init__()
        self.side_px = side_px

    def forward(self, logits: Tensor) -> Tensor:
        size = (self.side_px, self.side_px)
        return interpolate(logits, size, mode="bilinear", align_corners=True).sigmoid().squeeze(1)
