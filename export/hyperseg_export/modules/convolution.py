"""Convolutions as they are once their BatchNorm has been folded into them."""

from torch import Tensor, nn
from torch.nn.functional import relu


class ConvRelu(nn.Module):
    """Convolution that keeps the map's size, then ReLU. (B, in, h, w) -> (B, out, h, w)"""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.conv(x))


def to_tokens(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h * w, C)"""
    return x.flatten(2).transpose(1, 2)


def to_map(x: Tensor, shape_hw: tuple[int, int]) -> Tensor:
    """(B, h * w, C) -> (B, C, h, w)"""
    return x.transpose(1, 2).unflatten(2, shape_hw)
