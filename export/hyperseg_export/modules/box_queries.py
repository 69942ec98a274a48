"""Queries that carry a box each and refine it layer by layer (arXiv 2203.03605); boxes are cx, cy, w, h in 0..1."""

import math
from collections.abc import Sequence
from itertools import zip_longest

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from hyperseg_export.modules.attention import CrossAttention
from hyperseg_export.modules.deformable_layers import DeformableAttention, DeformableConfig
from hyperseg_export.modules.islands import Island
from hyperseg_export.modules.levels import Sine
from hyperseg_export.modules.linear import Mlp
from hyperseg_export.modules.norms import LayerNorm

SMALLEST = 1e-5


def inverse_sigmoid(x: Tensor) -> Tensor:
    """log(x / (1 - x)) with x and 1 - x no smaller than 1e-5, and x no further out than 0..1."""
    x = x.clamp(0, 1)
    return torch.log(x.clamp(min=SMALLEST) / (1 - x).clamp(min=SMALLEST))


class BoxSine(nn.Module):
    """Boxes (..., 4) -> (..., 4 * channels), `channels` each for cy, cx, w, h."""

    island = Island("fp16 angles of up to 2 pi repeat every few pixels of a large image")

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.sine = Sine(channels)

    def forward(self, boxes: Tensor) -> Tensor:
        cx, cy, size = (boxes.float() * (2 * math.pi)).split((1, 1, 2), dim=-1)
        return self.sine(torch.cat((cy, cx, size), dim=-1)).flatten(-2)


class BoxUpdate(nn.Module):
    """What a layer says of a box, (..., 4), and the box before -> the box after."""

    island = Island("boxes are refined layer by layer: a rounded one moves all that follow", stays_wide=True)

    def forward(self, delta: Tensor, boxes: Tensor) -> Tensor:
        return (delta + inverse_sigmoid(boxes)).sigmoid()


class BoxDecoderLayer(nn.Module):
    """Self-attention, deformable attention inside the boxes, MLP; each residual with a norm after it.

    x, position (B, Q, C), references (B, Q, L, 4), memory (B, S, C) -> (B, Q, C). The norms are in the order of use;
    checkpoints count the first two the other way round (hipie-spec 10).
    """

    def __init__(self, config: DeformableConfig) -> None:
        super().__init__()
        self.self_attention = CrossAttention(config.width, config.heads)
        self.norm1 = LayerNorm(config.width, config.norm_eps)
        self.cross_attention = DeformableAttention(config)
        self.norm2 = LayerNorm(config.width, config.norm_eps)
        self.mlp = Mlp((config.width, config.mlp_width, config.width), relu)
        self.norm3 = LayerNorm(config.width, config.norm_eps)

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        references: Tensor,
        memory: Tensor,
        sizes: Tensor,
        inside: Tensor | None = None,
    ) -> Tensor:
        placed = x + position
        x = self.norm1(x + self.self_attention(placed, placed, x))
        x = self.norm2(x + self.cross_attention(x + position, references, memory, sizes, inside))
        return self.norm3(x + self.mlp(x))


class BoxDecoder(nn.Module):
    """Contents (B, Q, C) and boxes (B, Q, 4) -> (contents after the last layer, boxes after each layer).

    `deltas` are the modules that read a layer's contents as a change of its boxes, one for each layer; the last may be
    missing, and with it the last boxes. `ratios` (B, L, 2) turn boxes of the image into boxes of the padded levels.
    """

    def __init__(self, config: DeformableConfig, layers: int) -> None:
        super().__init__()
        self.sine = BoxSine(config.width // 2)
        self.position = Mlp((2 * config.width, config.width, config.width), relu)
        self.layers = nn.ModuleList(BoxDecoderLayer(config) for _ in range(layers))
        self.update = BoxUpdate()

    def forward(
        self,
        x: Tensor,
        boxes: Tensor,
        memory: Tensor,
        sizes: Tensor,
        ratios: Tensor,
        deltas: Sequence[nn.Module],
        inside: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        scale = torch.cat((ratios, ratios), dim=-1).unsqueeze(1)  # (B, 1, L, 4)
        after = []
        for layer, delta in zip_longest(self.layers, deltas):
            references = boxes.unsqueeze(2) * scale
            position = self.position(self.sine(references.select(2, 0)))
            x = layer(x, position, references, memory, sizes, inside)
            if delta is not None:
                boxes = self.update(delta(x), boxes)
                after.append(boxes)
        return x, after
