"""Sine position tables."""

import math

import torch
from torch import Tensor

TEMPERATURE = 10000.0
EPSILON = 1e-6
PIXEL_CENTRE = 0.5
"""Offset of tables that count rows from their centres instead of from their lower edges."""


def sine_positions(height: int, width: int, channels: int, offset: float = 0.0) -> Tensor:
    """Normalised 2-d sine table of DETR (arXiv 2005.12872), (h * w, channels) float32.

    y_i = (i + 1 - offset) / (h + 1e-6) * 2 pi, x_j alike; the first half of the channels comes from y, the second
    from x, each as in `sequence_positions`.
    """
    half = channels // 2
    y_table, x_table = (_axis_table(extent, half, offset) for extent in (height, width))
    table = torch.cat(
        (
            y_table[:, None].expand(height, width, half),
            x_table[None, :].expand(height, width, half),
        ),
        dim=-1,
    )
    return table.reshape(height * width, channels)


def sequence_positions(length: int, channels: int) -> Tensor:
    """Normalised 1-d sine table, (length, channels) float32; angles (i + 1) / (length + 1e-6) * 2 pi.

    d_k = 10000^(2 floor(k / 2) / channels). Even channels hold sin(angle / d_k) and odd ones cos(angle / d_k).
    """
    return _axis_table(length, channels, 0.0)


def _axis_table(extent: int, channels: int, offset: float) -> Tensor:
    k = torch.arange(channels, dtype=torch.float32)
    scale = TEMPERATURE ** (2 * torch.floor(k / 2) / channels)
    position = torch.arange(1, extent + 1, dtype=torch.float32) - offset
    angle = (position / (extent + EPSILON) * (2 * math.pi))[:, None] / scale
    return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=2).flatten(1)


def rotary_tables(positions: int, rotary_width: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine of rotary embedding (arXiv 2104.09864), each (positions, rotary_width / 2) float32."""
    inverse = 1.0 / theta ** (torch.arange(0, rotary_width, 2, dtype=torch.float32) / rotary_width)
    angle = torch.outer(torch.arange(positions, dtype=torch.float32), inverse)
    return angle.cos(), angle.sin()
