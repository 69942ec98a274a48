"""Attention with relative positions, against the sum written out with a bias of tokens x tokens."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from hyperseg_export.modules.plain_vit import (
    PlainVitConfig,
    RelativeAttention,
    WindowAttention,
    cubic_shares,
    resample_rows,
)

Randomise = Callable[[nn.Module], nn.Module]

WIDTH, HEADS, WINDOW = 16, 2, 3
CONFIG = PlainVitConfig(WIDTH, HEADS, 32, 4, 4, WINDOW, (5,), (True,), 8)


def written_out(attention: RelativeAttention, x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """hipie-spec 6.2, place by place; x (B, h, w, C)."""
    batch, height, width, _ = x.shape
    heads = [part.unflatten(-1, (HEADS, -1)) for part in attention.qkv(x.flatten(1, 2)).chunk(3, dim=-1)]
    q, k, v = (part.transpose(1, 2) for part in heads)  # (B, H, N, d)
    scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5
    for a in range(height * width):
        for b in range(height * width):
            (i, j), (i2, j2) = divmod(a, width), divmod(b, width)
            table = rows[i - i2 + height - 1] + columns[j - j2 + width - 1]
            scores[:, :, a, b] += q[:, :, a] @ table
    found = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
    return attention.out(found).view(batch, height, width, -1)  # type: ignore[no-any-return]


def test_on_a_grid_of_the_tables_size(randomise: Randomise) -> None:
    attention = randomise(RelativeAttention(CONFIG, table_rows=7))
    x = torch.randn(2, 4, 4, WIDTH, dtype=torch.float64)
    expected = written_out(attention, x, attention.rows, attention.columns)  # type: ignore[arg-type]
    assert torch.allclose(attention(x), expected, atol=1e-9)


@pytest.mark.parametrize(("rows", "count"), [(5, 5), (5, 9), (15, 11), (127, 135)])
def test_tables_are_resampled_as_torch_does(rows: int, count: int) -> None:
    table = torch.randn(rows, 3)
    expected = interpolate(table.t()[None], count, mode="linear", align_corners=False)[0].t()
    assert torch.allclose(resample_rows(table, count), expected, atol=1e-6)


@pytest.mark.parametrize(("grid", "height", "width"), [(14, 64, 86), (14, 14, 14), (14, 7, 9), (4, 6, 10)])
def test_positions_are_resampled_as_torch_does(grid: int, height: int, width: int) -> None:
    table = torch.randn(1, 5, grid, grid)
    expected = interpolate(table, (height, width), mode="bicubic", align_corners=False)
    found = cubic_shares(grid, height, table.device) @ table @ cubic_shares(grid, width, table.device).T
    assert torch.allclose(found, expected, atol=1e-5)


def test_windows_see_nothing_of_each_other_and_the_filling_as_zeros(randomise: Randomise) -> None:
    attention = randomise(WindowAttention(CONFIG, table_rows=5))
    x = torch.randn(1, 4, 5, WIDTH, dtype=torch.float64)
    filled = torch.zeros(1, 6, 6, WIDTH, dtype=torch.float64)
    filled[:, :4, :5] = x
    found = attention(x)
    for top in (0, 3):
        for left in (0, 3):
            window = filled[:, top : top + WINDOW, left : left + WINDOW]
            expected = written_out(attention, window, attention.rows, attention.columns)  # type: ignore[arg-type]
            part = found[:, top : top + WINDOW, left : left + WINDOW]
            assert torch.allclose(part, expected[:, : part.shape[1], : part.shape[2]], atol=1e-9)
