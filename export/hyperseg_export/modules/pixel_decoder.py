"""Deformable pixel decoder of Mask2Former (arXiv 2112.01527) for fixed map sizes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from hyperseg_export.modules.constants import ConstantModule
from hyperseg_export.modules.islands import Island
from hyperseg_export.modules.linear import Linear, Mlp
from hyperseg_export.modules.norms import GroupNorm, LayerNorm
from hyperseg_export.modules.positions import sine_positions
from hyperseg_kernels.deformable_attention.torch_op import deformable_attention

MapShape = tuple[int, int]  # (height, width)


@dataclass(frozen=True)
class PixelDecoderConfig:
    width: int
    heads: int
    points: int
    layers: int
    mlp_width: int
    map_channels: tuple[int, ...]  # of the levels, coarsest first
    fine_channels: int  # of the finest map, which joins after the transformer
    norm_groups: int = 32
    norm_eps: float = 1e-5


class ProjectedMap(nn.Module):
    """Convolution and GroupNorm."""

    def __init__(self, in_channels: int, config: PixelDecoderConfig, kernel: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, config.width, kernel, padding=kernel // 2)
        self.norm = GroupNorm(config.norm_groups, config.width, config.norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class DeformableSampling(nn.Module):
    """The operator itself; see `hyperseg_kernels.deformable_attention.reference` for shapes."""

    island = Island("fp16 coordinates move in steps of up to 1/16 px on a map of 128 px")

    def __init__(self, shapes: Sequence[MapShape]) -> None:
        super().__init__()
        self.flat_shapes = [extent for shape in shapes for extent in shape]

    def forward(self, value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        return deformable_attention(value, locations, weights, self.flat_shapes)


class DeformableSelfAttention(ConstantModule):
    """Every token samples `points` places on every level around its own position.

    x, positions (B, S, C), S = tokens of all levels -> (B, S, C).
    """

    def __init__(self, config: PixelDecoderConfig, shapes: Sequence[MapShape]) -> None:
        super().__init__()
        self.heads, self.points = config.heads, config.points
        self.shapes = tuple(shapes)
        samples = config.heads * len(shapes) * config.points
        self.value = Linear(config.width, config.width)
        self.offsets = Linear(config.width, 2 * samples)
        self.weights = Linear(config.width, samples)
        self.out = Linear(config.width, config.width)
        self.sampling = DeformableSampling(shapes)
        self.register_constant("reference_points", lambda: token_centres(self.shapes))
        self.register_constant("level_size", lambda: torch.tensor(self.shapes, dtype=torch.float32).flip(1))

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        query = x + positions
        grid = (self.heads, len(self.shapes), self.points)
        offsets = self.offsets(query).unflatten(-1, (*grid, 2))  # (B, S, H, L, P, 2)
        weights = self.weights(query).unflatten(-1, (self.heads, -1)).softmax(-1).unflatten(-1, grid[1:])
        reference = self.get_buffer("reference_points")[None, :, None, None, None]  # (1, S, 1, 1, 1, 2)
        locations = reference + offsets / self.get_buffer("level_size")[:, None]  # level_size is (width, height)
        value = self.value(x).unflatten(-1, (self.heads, -1))
        return self.out(self.sampling(value, locations, weights))


def token_centres(shapes: Sequence[MapShape]) -> Tensor:
    """Centre of every token in units of its own level, (S, 2) as x, y."""
    centres = []
    for height, width in shapes:
        y = (torch.arange(height, dtype=torch.float32) + 0.5) / height
        x = (torch.arange(width, dtype=torch.float32) + 0.5) / width
        grid = torch.stack((x.expand(height, width), y[:, None].expand(height, width)), dim=-1)
        centres.append(grid.reshape(-1, 2))
    return torch.cat(centres)


class PixelEncoderLayer(nn.Module):
    """Post-norm transformer layer on the tokens of all levels."""

    def __init__(self, config: PixelDecoderConfig, shapes: Sequence[MapShape]) -> None:
        super().__init__()
        self.attention = DeformableSelfAttention(config, shapes)
        self.norm1 = LayerNorm(config.width, config.norm_eps)
        self.mlp = Mlp((config.width, config.mlp_width, config.width), relu)
        self.norm2 = LayerNorm(config.width, config.norm_eps)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        x = self.norm1(x + self.attention(x, positions))
        return self.norm2(x + self.mlp(x))


class PixelDecoder(ConstantModule):
    """maps coarsest first (B, c, h, w), finest map last -> mask features and encoded maps.

    Returns (mask_features (B, C, h, w) at the finest resolution, [encoded map (B, C, h_l, w_l)] coarsest
    first). Map sizes are fixed at construction.
    """

    def __init__(self, config: PixelDecoderConfig, shapes: Sequence[MapShape]) -> None:
        super().__init__()
        self.shapes = tuple(shapes)
        self.input_proj = nn.ModuleList(ProjectedMap(c, config) for c in config.map_channels)
        self.level_embed = nn.Parameter(torch.empty(len(shapes), config.width))
        self.layers = nn.ModuleList(PixelEncoderLayer(config, shapes) for _ in range(config.layers))
        self.fine_proj = ProjectedMap(config.fine_channels, config)
        self.fine_conv = ProjectedMap(config.width, config, kernel=3)
        self.mask_features = nn.Conv2d(config.width, config.width, 1)
        self.register_constant("sine", lambda: torch.cat([sine_positions(h, w, config.width) for h, w in self.shapes]))

    def forward(self, maps: Sequence[Tensor], finest: Tensor) -> tuple[Tensor, list[Tensor]]:
        sizes = [height * width for height, width in self.shapes]
        projected = [project(x) for project, x in zip(self.input_proj, maps, strict=True)]
        tokens = torch.cat([x.flatten(2).transpose(1, 2) for x in projected], dim=1)
        levels = [embed.expand(size, -1) for embed, size in zip(self.level_embed, sizes, strict=True)]
        positions = self.get_buffer("sine") + torch.cat(levels)
        for layer in self.layers:
            tokens = layer(tokens, positions)
        encoded = [
            part.transpose(1, 2).unflatten(2, shape)
            for part, shape in zip(tokens.split(sizes, dim=1), self.shapes, strict=True)
        ]
        fine = relu(self.fine_proj(finest))
        coarse = interpolate(encoded[-1], fine.shape[-2:], mode="bilinear", align_corners=False)
        return self.mask_features(relu(self.fine_conv(fine + coarse))), encoded
