"""Image tokens from the coarsest map of the mask branch: a residual block, then a linear layer (psalm-spec 5.1)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from hyperseg_export.modules.convolution import to_tokens
from hyperseg_export.modules.linear import Linear


@dataclass(frozen=True)
class ConvolutionProjectorConfig:
    map_channels: int
    planes: int  # channels inside the block
    out_width: int

    @staticmethod
    def tokens(shape_hw: tuple[int, int]) -> int:
        """Image tokens that a map of this size gives."""
        height, width = shape_hw
        return -(-height // 2) * -(-width // 2)


class ChannelScale(nn.Module):
    """What is left of a BatchNorm behind a convolution that is used twice: x * scale + shift, (B, C, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(channels))
        self.shift = nn.Parameter(torch.empty(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale[:, None, None] + self.shift[:, None, None]


class ConvolutionProjector(nn.Module):
    """Coarsest map (B, c, h, w) -> tokens (B, ceil(h / 2) * ceil(w / 2), D), row by row.

    `conv2` is applied twice in a row with the same weights: so the original was trained. The norms behind `conv1` and
    `downsample` are folded into them; that behind `conv2` belongs to the second time only.
    """

    def __init__(self, config: ConvolutionProjectorConfig) -> None:
        super().__init__()
        planes = config.planes
        self.conv1 = nn.Conv2d(config.map_channels, planes, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.norm2 = ChannelScale(planes)
        self.downsample = nn.Conv2d(config.map_channels, planes, 1, stride=2)
        self.out = Linear(planes, config.out_width)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm2(self.conv2(self.conv2(relu(self.conv1(x)))))
        return self.out(to_tokens(relu(inner + self.downsample(x))))
