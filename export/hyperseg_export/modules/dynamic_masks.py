"""Masks by small networks whose weights are made for each query (arXiv 2003.05664; hipie-spec 11.1)."""

from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from hyperseg_export.modules.convolution import ConvRelu
from hyperseg_export.modules.islands import Island

INNER = 8
"""Channels inside the networks."""
STRIDE_PX = 8
MASK_MAP_SHARE = 32
"""What of the width is left in the map that the networks read."""


def parameter_count(map_channels: int) -> int:
    """Numbers of one query's network."""
    return INNER * (2 + map_channels) + INNER * INNER + INNER + INNER + INNER + 1


class MaskMap(nn.Module):
    """Maps of strides 8, 16 and 32 (B, width, h, w) -> the map that all queries read (B, width / 32, h, w)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.coarse = ConvRelu(width, width, kernel=3)
        self.middle = ConvRelu(width, width, kernel=3)
        self.fine = ConvRelu(width, width, kernel=3)
        self.narrow = ConvRelu(width, width // 4, kernel=3)
        self.out = ConvRelu(width // 4, width // MASK_MAP_SHARE, kernel=3)

    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> Tensor:
        x = self.coarse(coarse)
        x = self.middle(middle + interpolate(x, middle.shape[-2:], mode="nearest"))
        x = self.fine(fine + interpolate(x, fine.shape[-2:], mode="nearest"))
        return self.out(self.narrow(x))


class DynamicMasks(nn.Module):
    """mask_map (B, c, h, w), parameters (B, Q, n), centres_px (B, Q, 2) as x, y -> mask logits (B, Q, 2h, 2w).

    A network reads, at every place, how far it is from the query's centre and the map.
    """

    island = Island(
        "distances of up to 2,048 px, and the sign of what is made of them decides about pixels", stays_wide=True
    )

    def forward(self, mask_map: Tensor, parameters: Tensor, centres_px: Tensor) -> Tensor:
        channels, height, width = mask_map.shape[1:]
        counts = (INNER * (2 + channels), INNER * INNER, INNER, INNER, INNER, 1)
        ends = list(accumulate(counts))
        first, second, third, bias1, bias2, bias3 = (
            parameters[..., end - count : end] for end, count in zip(ends, counts, strict=True)
        )
        first = first.unflatten(-1, (INNER, 2 + channels))  # (B, Q, 8, 2 + c)
        distances = centres_px[..., None] - _places(mask_map, height, width).flatten(1)  # (B, Q, 2, h * w)
        x = first[..., :2] @ distances + first[..., 2:] @ mask_map.flatten(2)[:, None] + bias1[..., None]
        x = second.unflatten(-1, (INNER, INNER)) @ relu(x) + bias2[..., None]
        x = third[:, :, None] @ relu(x) + bias3[..., None]  # (B, Q, 1, h * w)
        return aligned_double(x.squeeze(2).unflatten(-1, (height, width)))


def _places(like: Tensor, height: int, width: int) -> Tensor:
    """Middle of every place in pixels, (2, h, w) as x, y."""
    y = torch.arange(height, dtype=torch.float32, device=like.device) * STRIDE_PX + STRIDE_PX // 2
    x = torch.arange(width, dtype=torch.float32, device=like.device) * STRIDE_PX + STRIDE_PX // 2
    return torch.stack((x.expand(height, -1), y[:, None].expand(-1, width)))


def aligned_double(x: Tensor) -> Tensor:
    """(B, Q, h, w) -> (B, Q, 2h, 2w): place o of the larger map is place max(o - 1, 0) / 2 of the smaller, linear."""
    return _doubled(_doubled(x.transpose(2, 3)).transpose(2, 3))


def _doubled(x: Tensor) -> Tensor:
    """Along the last axis: every place, and before it the middle between it and the one before."""
    before = torch.cat((x[..., :1], x[..., :-1]), dim=-1)
    return torch.stack(((before + x) / 2, x), dim=-1).flatten(-2)
