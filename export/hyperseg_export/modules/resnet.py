"""ResNet (arXiv 1512.03385) of bottlenecks whose frozen BatchNorms are folded into their convolutions."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu


@dataclass(frozen=True)
class ResnetConfig:
    stem: int
    channels: tuple[int, ...]  # of the stages' outputs, finest first
    inner: tuple[int, ...]  # of the convolutions inside their bottlenecks
    depths: tuple[int, ...]


class Stem(nn.Module):
    """images (B, 3, H, W) -> (B, C, ceil(H / 4), ceil(W / 4))"""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 7, stride=2, padding=3)

    def forward(self, images: Tensor) -> Tensor:
        return max_pool2d(relu(self.conv(images)), 3, stride=2, padding=1)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 around a shortcut; the stride is the 3x3's. (B, in, h, w) -> (B, out, ceil(h / stride), ...)"""

    def __init__(self, in_channels: int, inner: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, inner, 1)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1)
        self.conv3 = nn.Conv2d(inner, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.branch(x) + x)

    def branch(self, x: Tensor) -> Tensor:
        return self.conv3(relu(self.conv2(relu(self.conv1(x)))))


class FirstBottleneck(Bottleneck):
    """The first of a stage, whose shortcut is a convolution."""

    def __init__(self, in_channels: int, inner: int, out_channels: int, stride: int) -> None:
        super().__init__(in_channels, inner, out_channels, stride)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.branch(x) + self.shortcut(x))


class Resnet(nn.Module):
    """images (B, 3, H, W) -> maps of all stages but the first (B, c, ceil(H / s), ceil(W / s)), s = 8, 16, 32."""

    def __init__(self, config: ResnetConfig) -> None:
        super().__init__()
        self.stem = Stem(config.stem)
        self.stages = nn.ModuleList()
        before = config.stem
        for index, (inner, out, depth) in enumerate(zip(config.inner, config.channels, config.depths, strict=True)):
            first = FirstBottleneck(before, inner, out, stride=1 if index == 0 else 2)
            self.stages.append(nn.Sequential(first, *(Bottleneck(out, inner, out, 1) for _ in range(depth - 1))))
            before = out

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x = self.stem(images)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return tuple(maps[1:])
