"""Plain vision transformer as a detection backbone (arXiv 2203.16527), for images of any multiple of two patches.

Attention adds a position score made of two tables, one for rows and one for columns. Both are dot products with the
query, so they are written as further channels of queries and keys: a key has ones where its row and its column are
counted. One attention call without a bias of tokens x tokens does it all.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, pad, scaled_dot_product_attention

from hyperseg_export.modules.attention import merge_heads, split_heads
from hyperseg_export.modules.double_size import DoubleSize
from hyperseg_export.modules.linear import Linear, Mlp, gelu
from hyperseg_export.modules.norms import LayerNorm

CUBIC = -0.75
"""Coefficient of the cubic convolution (Keys 1981), torch's value."""
TAPS = (-1, 0, 1, 2)
"""Values that each new one is made of, counted from the one before its place."""


@dataclass(frozen=True)
class PlainVitConfig:
    width: int
    heads: int
    mlp_width: int
    patch_px: int
    grid: int  # side of the stored table of positions
    window: int
    table_rows: tuple[int, ...]  # of every block's two tables of relative positions
    windowed: tuple[bool, ...]  # whether a block attends inside windows
    fine_channels: int
    norm_eps: float = 1e-6


def resample_rows(table: Tensor, rows: int) -> Tensor:
    """(n, d) -> (rows, d): linear along the rows, between the centres of what they cover; the ends repeat."""
    count = table.shape[0]
    place = ((torch.arange(rows, device=table.device) + 0.5) * (count / rows) - 0.5).clamp(0, count - 1)
    low = place.floor()
    below = low.long()
    above = (below + 1).clamp(max=count - 1)
    share = (place - low)[:, None].to(table.dtype)
    return table[below] * (1 - share) + table[above] * share


def cubic_shares(count: int, rows: int, device: torch.device) -> Tensor:
    """Shares of `count` values in `rows` new ones along an axis, (rows, count): cubic, the ends repeat.

    A product with two of these is torch's bicubic interpolation without aligned corners. TensorRT's Resize has no cubic
    mode; products are exact, and small beside everything else. They can go when it has one.
    """
    places = torch.arange(count, device=device)
    place = (torch.arange(rows, device=device) + 0.5) * (count / rows) - 0.5
    low = place.floor()
    shares = []
    for tap in TAPS:
        d = (place - low - tap).abs()
        near = ((CUBIC + 2) * d - (CUBIC + 3)) * d * d + 1
        far = ((CUBIC * d - 5 * CUBIC) * d + 8 * CUBIC) * d - 4 * CUBIC
        at = (low.long() + tap).clamp(0, count - 1)
        shares.append(torch.where(d <= 1, near, far)[:, None] * (at[:, None] == places))
    return torch.stack(shares).sum(0)


def relative_rows(table: Tensor, extent: int) -> Tensor:
    """Rows of a table of 2 * extent - 1 distances for all pairs of places: (extent, extent, d), [query, key]."""
    places = torch.arange(extent, device=table.device)
    return table[places[:, None] - places + (extent - 1)]


class RelativeAttention(nn.Module):
    """Self-attention on a grid with decomposed relative positions. x (B, h, w, C) -> (B, h, w, C)

    score = q k / sqrt(d) + q R_rows[i - i'] + q R_columns[j - j'] (hipie-spec 6.2).
    """

    def __init__(self, config: PlainVitConfig, table_rows: int) -> None:
        super().__init__()
        self.heads = config.heads
        head_width = config.width // config.heads
        self.qkv = Linear(config.width, 3 * config.width)
        self.out = Linear(config.width, config.width)
        self.rows = nn.Parameter(torch.empty(table_rows, head_width))
        self.columns = nn.Parameter(torch.empty(table_rows, head_width))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        q, k, v = (split_heads(part.flatten(1, 2), self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        query_grid = q.unflatten(2, (height, width))  # (B, H, h, w, d)
        row_table, column_table = self.tables(height, width)
        by_row = torch.einsum("bhijd,ikd->bhijk", query_grid, relative_rows(row_table, height)).flatten(2, 3)
        by_column = torch.einsum("bhijd,jkd->bhijk", query_grid, relative_rows(column_table, width)).flatten(2, 3)
        queries = torch.cat((q * q.shape[-1] ** -0.5, by_row, by_column), dim=-1)
        keys = torch.cat((k, counted_places(k, height, width)), dim=-1)
        return self.out(merge_heads(scaled_dot_product_attention(queries, keys, v, scale=1.0))).view_as(x)

    def tables(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Of the distances in a grid of this size."""
        return resample_rows(self.rows, 2 * height - 1), resample_rows(self.columns, 2 * width - 1)


def counted_places(keys: Tensor, height: int, width: int) -> Tensor:
    """One-hot row and column of every place of a grid, for keys (B, H, h * w, d): (B, H, h * w, h + w)."""
    rows = torch.arange(height, device=keys.device)
    columns = torch.arange(width, device=keys.device)
    by_row = (rows[:, None] == rows)[:, None].expand(-1, width, -1)
    by_column = (columns[:, None] == columns)[None].expand(height, -1, -1)
    places = torch.cat((by_row, by_column), dim=-1).flatten(0, 1).to(keys.dtype)
    return places.expand(keys.shape[0], keys.shape[1], -1, -1)


class WindowAttention(RelativeAttention):
    """The same inside windows; the grid is filled up with zeros, which are not masked (hipie-spec 6.2)."""

    def __init__(self, config: PlainVitConfig, table_rows: int) -> None:
        super().__init__(config, table_rows)
        self.window = config.window

    def forward(self, x: Tensor) -> Tensor:
        side, (height, width) = self.window, x.shape[1:3]
        down, across = (height + side - 1) // side, (width + side - 1) // side
        # Filled by a full window and cut to size: the amount itself would have to be known not to be negative.
        filled = pad(x, (0, 0, 0, side, 0, side))[:, : down * side, : across * side]
        windows = filled.unflatten(1, (down, side)).unflatten(3, (across, side)).transpose(2, 3)
        found = super().forward(windows.flatten(0, 2)).view_as(windows)
        return found.transpose(2, 3).flatten(3, 4).flatten(1, 2)[:, :height, :width]


class VitBlock(nn.Module):
    """Pre-norm transformer layer on a grid (B, h, w, C)."""

    def __init__(self, config: PlainVitConfig, attention: nn.Module) -> None:
        super().__init__()
        self.norm1 = LayerNorm(config.width, config.norm_eps)
        self.attention = attention
        self.norm2 = LayerNorm(config.width, config.norm_eps)
        self.mlp = Mlp((config.width, config.mlp_width, config.width), gelu)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PlainVit(nn.Module):
    """images (B, 3, H, W) -> maps of strides 8, 16 and 32; the patch is 16 px, H and W are multiples of 32.

    position_embed is a map (1, C, grid, grid), resampled bicubically where the image's grid is another.
    """

    def __init__(self, config: PlainVitConfig) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, config.width, config.patch_px, stride=config.patch_px)
        self.position_embed = nn.Parameter(torch.empty(1, config.width, config.grid, config.grid))
        self.blocks = nn.ModuleList(
            VitBlock(config, (WindowAttention if windowed else RelativeAttention)(config, rows))
            for windowed, rows in zip(config.windowed, config.table_rows, strict=True)
        )
        self.finer = DoubleSize(config.width, config.fine_channels)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.patches(images)
        grid = self.position_embed.shape[-1]
        down, across = (cubic_shares(grid, extent, x.device).to(x.dtype) for extent in x.shape[-2:])
        x = (x + down @ self.position_embed @ across.T).permute(0, 2, 3, 1)
        for block in self.blocks:
            x = block(x)
        x = x.permute(0, 3, 1, 2)
        return self.finer(x), x, max_pool2d(x, 2)
