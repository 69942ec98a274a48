"""Swin transformer (arXiv 2103.14030) for one fixed image size: all padding and masks are constants."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from hyperseg_export.modules.constants import ConstantModule
from hyperseg_export.modules.linear import Linear, Mlp, gelu
from hyperseg_export.modules.norms import LayerNorm

OTHER_REGION_LOGIT = -100.0  # finite, as in the original: tokens of other regions are damped, not removed


@dataclass(frozen=True)
class SwinConfig:
    width: int  # channels of the first stage; each further stage doubles them
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int
    patch_px: int
    mlp_ratio: int
    norm_eps: float = 1e-5

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of res2, res3, ..."""
        return tuple(self.width << stage for stage in range(len(self.depths)))

    def map_shapes(self, image_hw: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """(height, width) of res2, res3, ...: partial patches count, odd sizes round up."""
        height, width = (-(-size // self.patch_px) for size in image_hw)
        shapes = []
        for _ in self.depths:
            shapes.append((height, width))
            height, width = -(-height // 2), -(-width // 2)
        return tuple(shapes)


class SwinTransformer(nn.Module):
    """images (B, 3, H, W) -> one map (B, channels, h, w) per stage."""

    def __init__(self, config: SwinConfig, image_hw: tuple[int, int]) -> None:
        super().__init__()
        self.padding = tuple(-size % config.patch_px for size in image_hw)
        self.patch_embed = nn.Conv2d(3, config.width, config.patch_px, stride=config.patch_px)
        self.patch_norm = LayerNorm(config.width, config.norm_eps)
        shapes = config.map_shapes(image_hw)
        last = len(shapes) - 1
        self.stages = nn.ModuleList(
            SwinStage(config, stage, shape, merge=stage < last) for stage, shape in enumerate(shapes)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        rows, columns = self.padding
        x = self.patch_embed(pad(images, (0, columns, 0, rows)))
        x = self.patch_norm(x.permute(0, 2, 3, 1))  # (B, h, w, C)
        maps = []
        for stage in self.stages:
            feature, x = stage(x)
            maps.append(feature.permute(0, 3, 1, 2))
        return tuple(maps)


class SwinStage(ConstantModule):
    """Blocks at one resolution, then a norm for the output map and a merge for the next stage."""

    def __init__(self, config: SwinConfig, stage: int, shape_hw: tuple[int, int], merge: bool) -> None:
        super().__init__()
        width = config.channels[stage]
        windows = WindowGrid(shape_hw, config.window)
        self.blocks = nn.ModuleList(
            SwinBlock(config, width, config.heads[stage], windows, shifted=index % 2 == 1)
            for index in range(config.depths[stage])
        )
        self.norm = LayerNorm(width, config.norm_eps)
        self.merge = PatchMerging(width, shape_hw, config.norm_eps) if merge else None
        # One table for all blocks of the stage. Region labels take far less room than the dense mask
        # (windows, n, n) that they stand for, and every runtime folds the comparison once.
        self.register_constant("regions", windows.regions)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        regions = self.get_buffer("regions")
        same = regions.unsqueeze(1) == regions.unsqueeze(2)  # (windows, n, n)
        shift_mask = torch.where(same, 0.0, OTHER_REGION_LOGIT).to(x.dtype).unsqueeze(1)
        for block in self.blocks:
            x = block(x, shift_mask)
        return self.norm(x), x if self.merge is None else self.merge(x)


@dataclass(frozen=True)
class WindowGrid:
    """How a map of `shape_hw` is cut into windows of `size` x `size`, zero-padded on the right and below."""

    shape_hw: tuple[int, int]
    size: int

    @property
    def padding_hw(self) -> tuple[int, int]:
        height, width = (-extent % self.size for extent in self.shape_hw)
        return height, width

    @property
    def padded_hw(self) -> tuple[int, int]:
        (height, width), (rows, columns) = self.shape_hw, self.padding_hw
        return height + rows, width + columns

    @property
    def counts_hw(self) -> tuple[int, int]:
        height, width = self.padded_hw
        return height // self.size, width // self.size

    @property
    def shift(self) -> int:
        return self.size // 2

    def split(self, x: Tensor) -> Tensor:
        """(B, padded h, padded w, C) -> (B, windows, n, C) with n = size * size"""
        rows, columns = self.counts_hw
        x = x.unflatten(2, (columns, self.size)).unflatten(1, (rows, self.size))
        return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)

    def join(self, x: Tensor) -> Tensor:
        """Inverse of `split`."""
        rows, columns = self.counts_hw
        x = x.unflatten(2, (self.size, self.size)).unflatten(1, (rows, columns))
        return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)

    def regions(self) -> Tensor:
        """Region label of every token of every shifted window, (windows, n) int32.

        After the cyclic shift a window at the border holds pieces that were not neighbours; equal labels
        mean "were neighbours". Three bands per axis of the padded map: [0, -size), [-size, -shift), rest.
        """
        bands = []
        for extent in self.padded_hw:
            position = torch.arange(extent)
            bands.append((position >= extent - self.size).int() + (position >= extent - self.shift).int())
        label = bands[0][:, None] * 3 + bands[1][None, :]
        return self.split(label[None, :, :, None])[0, :, :, 0].to(torch.int32)


class SwinBlock(nn.Module):
    def __init__(self, config: SwinConfig, width: int, heads: int, windows: WindowGrid, shifted: bool) -> None:
        super().__init__()
        self.windows = windows
        self.shifted = shifted
        self.norm1 = LayerNorm(width, config.norm_eps)
        self.attention = WindowAttention(width, heads, windows.size)
        self.norm2 = LayerNorm(width, config.norm_eps)
        self.mlp = Mlp((width, config.mlp_ratio * width, width), gelu)

    def forward(self, x: Tensor, shift_mask: Tensor) -> Tensor:
        height, width = self.windows.shape_hw
        rows, columns = self.windows.padding_hw
        shift = self.windows.shift
        # Padding comes after the norm and is not masked: padded keys carry the qkv bias and real tokens
        # attend to them, as in the original.
        y = pad(self.norm1(x), (0, 0, 0, columns, 0, rows))
        if self.shifted:
            y = torch.roll(y, (-shift, -shift), (1, 2))
        y = self.attention(self.windows.split(y), shift_mask if self.shifted else None)
        y = self.windows.join(y)
        if self.shifted:
            y = torch.roll(y, (shift, shift), (1, 2))
        x = x + y[:, :height, :width]
        return x + self.mlp(self.norm2(x))


class WindowAttention(nn.Module):
    """Attention inside windows with a learned bias per relative position.

    Written out instead of as one fused call: the fused node needs bias and mask tiled over the batch,
    1.5 GB more at 1024 x 1024 for the same time on ONNX Runtime's CPU provider.
    """

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)
        tokens = window * window
        self.relative_bias = nn.Parameter(torch.empty(heads, tokens, tokens))

    def forward(self, x: Tensor, shift_mask: Tensor | None) -> Tensor:
        query, key, value = (self._split(part) for part in self.qkv(x).chunk(3, dim=-1))
        logits = (query * self.scale) @ key.transpose(-1, -2) + self.relative_bias
        if shift_mask is not None:
            logits = logits + shift_mask
        y = logits.softmax(-1) @ value
        return self.out(y.transpose(2, 3).flatten(3))

    def _split(self, x: Tensor) -> Tensor:
        """(B, windows, n, H * d) -> (B, windows, H, n, d)"""
        return x.unflatten(-1, (self.heads, -1)).transpose(2, 3)


def relative_position_index(window: int) -> Tensor:
    """Row of the bias table for every (query, key) pair of a window, (n, n) int64."""
    axis = torch.arange(window)
    difference = axis[:, None] - axis[None, :] + window - 1  # query minus key, shifted to start at 0
    dy = difference[:, None, :, None].expand(window, window, window, window)
    dx = difference[None, :, None, :].expand(window, window, window, window)
    return (dy * (2 * window - 1) + dx).reshape(window**2, window**2)


def expand_relative_bias(table: Tensor, window: int) -> Tensor:
    """Learned table ((2 window - 1)^2, heads) -> bias (heads, n, n); row = query, column = key."""
    if table.shape[0] != (2 * window - 1) ** 2:
        raise ValueError(f"a window of {window} needs {(2 * window - 1) ** 2} rows")
    index = relative_position_index(window).to(table.device)
    return table[index].permute(2, 0, 1).contiguous()


class PatchMerging(nn.Module):
    """2 x 2 neighbours -> one token of twice the width; odd sizes are zero-padded. (B, h, w, C) in and out."""

    def __init__(self, width: int, shape_hw: tuple[int, int], norm_eps: float) -> None:
        super().__init__()
        self.padding = (shape_hw[0] % 2, shape_hw[1] % 2)
        self.norm = LayerNorm(4 * width, norm_eps)
        self.reduction = Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = self.padding
        x = pad(x, (0, 0, 0, columns, 0, rows))
        quarters = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(quarters, dim=-1)))
