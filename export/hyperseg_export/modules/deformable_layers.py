"""Deformable attention (arXiv 2010.04159) on levels whose sizes are known only when called, and the encoder's layer."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from hyperseg_export.modules.islands import Island
from hyperseg_export.modules.levels import Levels
from hyperseg_export.modules.linear import Linear, Mlp
from hyperseg_export.modules.norms import LayerNorm
from hyperseg_kernels.deformable_attention.torch_op import sized_deformable_attention


@dataclass(frozen=True)
class DeformableConfig:
    width: int
    heads: int
    levels: int
    points: int
    mlp_width: int
    norm_eps: float = 1e-5


class SizedSampling(nn.Module):
    """The operator itself; see `hyperseg_kernels.deformable_attention.reference.projected_attention` for shapes."""

    island = Island("fp16 coordinates move in steps of up to 1/16 px on a map of 128 px")

    def forward(self, value: Tensor, references: Tensor, offsets: Tensor, logits: Tensor, sizes: Tensor) -> Tensor:
        return sized_deformable_attention(value, references, offsets, logits, sizes)


class DeformableAttention(nn.Module):
    """query (B, Q, C), references (B, Q, L, 4), memory (B, S, C) -> (B, Q, C).

    references are boxes, cx, cy, w, h in units of each level; `inside` (B, S, 1) bool, where given, says which rows
    of the memory are image: the others are read as zeros.
    """

    def __init__(self, config: DeformableConfig) -> None:
        super().__init__()
        self.grid = (config.heads, config.levels, config.points)
        samples = config.heads * config.levels * config.points
        self.value = Linear(config.width, config.width)
        self.offsets = Linear(config.width, 2 * samples)
        self.weights = Linear(config.width, samples)
        self.out = Linear(config.width, config.width)
        self.sampling = SizedSampling()

    def forward(
        self, query: Tensor, references: Tensor, memory: Tensor, sizes: Tensor, inside: Tensor | None = None
    ) -> Tensor:
        value = self.value(memory)
        if inside is not None:
            value = torch.where(inside, value, 0.0)
        offsets = self.offsets(query).unflatten(-1, (*self.grid, 2))
        logits = self.weights(query).unflatten(-1, self.grid)
        heads = value.unflatten(-1, (self.grid[0], -1))
        return self.out(self.sampling(heads, references, offsets, logits, sizes))


class DeformableEncoderLayer(nn.Module):
    """Post-norm transformer layer on the tokens of all levels."""

    def __init__(self, config: DeformableConfig) -> None:
        super().__init__()
        self.attention = DeformableAttention(config)
        self.norm1 = LayerNorm(config.width, config.norm_eps)
        self.mlp = Mlp((config.width, config.mlp_width, config.width), relu)
        self.norm2 = LayerNorm(config.width, config.norm_eps)

    def forward(
        self, x: Tensor, positions: Tensor, references: Tensor, sizes: Tensor, inside: Tensor | None = None
    ) -> Tensor:
        x = self.norm1(x + self.attention(x + positions, references, x, sizes, inside))
        return self.norm2(x + self.mlp(x))


class LevelEmbedding(nn.Module):
    """One vector per level, given to each of its tokens: positions (B, S, C) -> the same with it added."""

    def __init__(self, levels: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Parameter(torch.empty(levels, width))

    def forward(self, positions: Tensor, levels: Levels) -> Tensor:
        return positions + levels.of_tokens(self.embed)


def pixels_on_levels(levels: Levels, points: int) -> Tensor:
    """Every token's centre on every level, padding counted, as a box: (B, S, L, 4) as cx, cy, w, h.

    Offsets around a box count halves of it over `points`. These boxes make that one pixel of the level.
    """
    centres = levels.centres.unsqueeze(2) * levels.ratios.unsqueeze(1)
    size = 2 * points / levels.sizes.float().flip(-1)
    return torch.cat((centres, size.expand_as(centres)), dim=-1)
