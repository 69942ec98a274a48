"""Sine position tables."""

import math

import torch
from torch import Tensor

TEMPERATURE = 10000.0
EPSILON = 1e-6


def sine_positions(height: int, width: int, channels: int) -> Tensor:
    """Normalised 2-d sine table of DETR (arXiv 2005.12872), (h * w, channels) float32.

    y_i = (i + 1) / (h + 1e-6) * 2 pi, x_j alike; d_k = 10000^(2 floor(k / 2) / (channels / 2)). Even
    channels hold the sine and odd ones the cosine; the first half comes from y, the second from x.
    """
    half = channels // 2
    k = torch.arange(half, dtype=torch.float32)
    scale = TEMPERATURE ** (2 * torch.floor(k / 2) / half)
    y = torch.arange(1, height + 1, dtype=torch.float32) / (height + EPSILON) * (2 * math.pi)
    x = torch.arange(1, width + 1, dtype=torch.float32) / (width + EPSILON) * (2 * math.pi)
    y_table, x_table = (_interleave(axis[:, None] / scale) for axis in (y, x))  # (h, half), (w, half)
    table = torch.cat(
        (
            y_table[:, None].expand(height, width, half),
            x_table[None, :].expand(height, width, half),
        ),
        dim=-1,
    )
    return table.reshape(height * width, channels)


def _interleave(angle: Tensor) -> Tensor:
    return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=2).flatten(1)


def rotary_tables(positions: int, rotary_width: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine of rotary embedding (arXiv 2104.09864), each (positions, rotary_width / 2) float32."""
    inverse = 1.0 / theta ** (torch.arange(0, rotary_width, 2, dtype=torch.float32) / rotary_width)
    angle = torch.outer(torch.arange(positions, dtype=torch.float32), inverse)
    return angle.cos(), angle.sin()
