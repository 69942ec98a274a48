"""Maps of several sizes as one sequence of tokens, where sizes and padding are known only when called."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from hyperseg_export.modules.constants import ConstantModule
from hyperseg_export.modules.convolution import to_map, to_tokens
from hyperseg_export.modules.islands import Island
from hyperseg_export.modules.norms import GroupNorm
from hyperseg_export.modules.positions import EPSILON, TEMPERATURE


@dataclass(frozen=True)
class Levels:
    """Sizes of the maps of a call, and how much of each is image.

    shapes  (height, width) of each map
    sizes   the same as a tensor, (L, 2) int64
    valid   rows and columns that are no padding, (B, L, 2) int64; padding lies at the right and at the bottom
    """

    shapes: tuple[tuple[int, int], ...]
    sizes: Tensor
    valid: Tensor

    @classmethod
    def of(cls, maps: Sequence[Tensor], valid: Tensor) -> "Levels":
        """Of maps (B, C, h, w)."""
        return cls(tuple((x.shape[2], x.shape[3]) for x in maps), sizes_of(maps), valid)

    @classmethod
    def unpadded(cls, maps: Sequence[Tensor]) -> "Levels":
        return cls.of(maps, sizes_of(maps).expand(maps[0].shape[0], -1, -1))

    @property
    def counts(self) -> list[int]:
        """Tokens of each level."""
        return [height * width for height, width in self.shapes]

    def maps(self, tokens: Tensor) -> list[Tensor]:
        """Tokens (B, S, C) -> maps (B, C, h, w)."""
        parts = zip(tokens.split(self.counts, dim=1), self.shapes, strict=True)
        return [to_map(part, shape) for part, shape in parts]

    def of_tokens(self, rows: Tensor) -> Tensor:
        """What is said of each level, (..., L, C), for each of its tokens, (..., S, C)."""
        spread = [
            row.expand(*row.shape[:-2], count, -1)
            for row, count in zip(rows.split(1, dim=-2), self.counts, strict=True)
        ]
        return torch.cat(spread, dim=-2)

    @cached_property
    def places(self) -> Tensor:
        """Row and column of every token on its level, (S, 2) float32."""
        found = []
        for shape in self.shapes:
            rows, columns = (torch.arange(extent, dtype=torch.float32, device=self.valid.device) for extent in shape)
            found.append(torch.stack((rows.unsqueeze(1).expand(shape), columns.expand(shape)), dim=-1).flatten(0, 1))
        return torch.cat(found)

    @cached_property
    def extents(self) -> Tensor:
        """Rows and columns of every token's level that are image, (B, S, 2) float32."""
        return self.of_tokens(self.valid.float())

    @cached_property
    def inside(self) -> Tensor:
        """Whether a token is image, (B, S, 1) bool."""
        return self.inside_by_axis.all(-1, keepdim=True)

    @cached_property
    def ratios(self) -> Tensor:
        """Share of each level's width and height that is image, (B, L, 2)."""
        return (self.valid.float() / self.sizes.float()).flip(-1)

    @cached_property
    def centres(self) -> Tensor:
        """Of every token as x, y in units of the level's image, (B, S, 2); beyond 1 in padding."""
        return ((self.places + 0.5) / self.extents).flip(-1)

    @cached_property
    def inside_by_axis(self) -> Tensor:
        """Whether row and column of a token are image, (B, S, 2) bool."""
        return self.places < self.extents


def sizes_of(maps: Sequence[Tensor]) -> Tensor:
    """Heights and widths of maps (B, C, h, w): (L, 2) int64."""
    device = maps[0].device
    extents = [torch.full((1,), extent, dtype=torch.int64, device=device) for x in maps for extent in x.shape[2:]]
    return torch.cat(extents).view(-1, 2)


class Sine(ConstantModule):
    """Angles (...) -> (..., channels): sin and cos in turn of angle / 10000^(2 floor(k / 2) / channels), channel k.

    The divisors are a table: of angles of millions (see `LevelSine`) a divisor's last bit is a fifth of a radian.
    """

    divisors: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_constant("divisors", lambda: _divisors(channels))

    def forward(self, angles: Tensor) -> Tensor:
        scaled = angles.unsqueeze(-1) / self.divisors
        return torch.stack((scaled.sin(), scaled.cos()), dim=-1).flatten(-2)


def _divisors(channels: int) -> Tensor:
    powers: Tensor = TEMPERATURE ** (2 * torch.arange(channels // 2, dtype=torch.float32) / channels)
    return powers


class LevelSine(nn.Module):
    """Sine position of every token, (B, S, channels); rows in the first half of the channels.

    Counts image pixels down a column and along a row, so a column of padding counts 0 of 0: what that gives is what the
    models were trained with (hipie-spec 7).
    """

    island = Island("fp16 angles of up to 2 pi repeat every few pixels of a large image")

    def __init__(self, channels: int, offset: float) -> None:
        super().__init__()
        self.offset = offset
        self.sine = Sine(channels // 2)

    def forward(self, levels: Levels) -> Tensor:
        counts = levels.inside_by_axis.flip(-1)  # a column counts rows, a row columns
        counted = torch.minimum(levels.places + 1, levels.extents) * counts
        angles = (counted - self.offset) / (levels.extents * counts + EPSILON) * (2 * math.pi)
        return self.sine(angles).flatten(-2)


class ProjectedLevel(nn.Module):
    """Convolution and GroupNorm. (B, in, h, w) -> (B, width, ceil(h / stride), ceil(w / stride))"""

    def __init__(self, in_channels: int, width: int, kernel: int = 1, stride: int = 1, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, kernel, stride, padding=kernel // 2, bias=bias)
        self.norm = GroupNorm(NORM_GROUPS, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


NORM_GROUPS = 32


class LevelProjections(nn.Module):
    """Maps finest first -> one level of `width` channels each, and a further one of half the coarsest map's size."""

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(ProjectedLevel(count, width) for count in channels)
        self.coarser = ProjectedLevel(channels[-1], width, kernel=3, stride=2)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        projected = [level(x) for level, x in zip(self.levels, maps, strict=True)]
        return [*projected, self.coarser(maps[-1])]


def joined(maps: Sequence[Tensor]) -> Tensor:
    """Maps (B, C, h, w) -> tokens (B, S, C), level after level, row-major."""
    return torch.cat([to_tokens(x) for x in maps], dim=1)
