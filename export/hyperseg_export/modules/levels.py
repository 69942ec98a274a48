"""Maps of several sizes as one sequence of tokens, where sizes and padding are known only when called."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hyperseg_export.modules.convolution import to_map, to_tokens
from hyperseg_export.modules.norms import GroupNorm

TEMPERATURE = 10000.0
EPSILON = 1e-6


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

    def inside(self) -> Tensor:
        """Whether a token is image, (B, S) bool."""
        return torch.cat([(rows & columns).flatten(1) for rows, columns in self._inside()], dim=1)

    def ratios(self) -> Tensor:
        """Share of each level's width and height that is image, (B, L, 2)."""
        return (self.valid.float() / self.sizes.float()).flip(-1)

    def centres(self) -> Tensor:
        """Of every token as x, y in units of the level's image, (B, S, 2); beyond 1 in padding."""
        found = []
        for (height, width), rows, columns in self._levels():
            y = (self._count(height) + 0.5)[:, None] / rows[:, None, None]
            x = (self._count(width) + 0.5) / columns[:, None, None]
            found.append(torch.stack((x.expand(-1, height, -1), y.expand(-1, -1, width)), dim=-1).flatten(1, 2))
        return torch.cat(found, dim=1)

    def sine(self, channels: int, offset: float) -> Tensor:
        """Sine position of every token, (B, S, channels); rows in the first half of the channels.

        Counts image pixels down a column and along a row, so a column of padding counts 0 of 0: what that gives
        is what the models were trained with (hipie-spec 7).
        """
        found = []
        for ((height, width), rows, columns), (row_inside, column_inside) in zip(
            self._levels(), self._inside(), strict=True
        ):
            y = _angles(self._count(height)[:, None] + 1, rows[:, None, None], column_inside, offset)
            x = _angles(self._count(width) + 1, columns[:, None, None], row_inside, offset)
            found.append(torch.cat((sine_of(y, channels // 2), sine_of(x, channels // 2)), dim=-1).flatten(1, 2))
        return torch.cat(found, dim=1)

    def _levels(self) -> Iterator[tuple[tuple[int, int], Tensor, Tensor]]:
        """Each level's shape, and its rows and columns of image, (B,) float32 each."""
        valid = self.valid.float()
        for level, shape in enumerate(self.shapes):
            yield shape, valid[:, level, 0], valid[:, level, 1]

    def _inside(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Whether rows, (B, h, 1), and columns, (B, 1, w), of each level are image."""
        for (height, width), rows, columns in self._levels():
            yield self._count(height)[:, None] < rows[:, None, None], self._count(width) < columns[:, None, None]

    def _count(self, extent: int) -> Tensor:
        return torch.arange(extent, dtype=torch.float32, device=self.valid.device)


def _angles(number: Tensor, last: Tensor, counts: Tensor, offset: float) -> Tensor:
    """Numbers from 1 as parts of a circle, no further than `last`; (B, h, w). Where nothing counts both are 0."""
    counted = torch.minimum(number, last) * counts
    return (counted - offset) / (last * counts + EPSILON) * (2 * math.pi)


def sizes_of(maps: Sequence[Tensor]) -> Tensor:
    """Heights and widths of maps (B, C, h, w): (L, 2) int64."""
    device = maps[0].device
    extents = [torch.full((1,), extent, dtype=torch.int64, device=device) for x in maps for extent in x.shape[2:]]
    return torch.cat(extents).view(-1, 2)


def sine_of(angles: Tensor, channels: int) -> Tensor:
    """(...) -> (..., channels): sin and cos in turn of angle / 10000^(2 floor(k / 2) / channels), channel k."""
    k = torch.arange(channels // 2, dtype=torch.float32, device=angles.device)
    scaled = angles[..., None] / TEMPERATURE ** (2 * k / channels)
    return torch.stack((scaled.sin(), scaled.cos()), dim=-1).flatten(-2)


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
