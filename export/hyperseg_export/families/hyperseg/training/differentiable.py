"""Stand-ins with a gradient for the two parameterless submodules that are one inference operator each."""

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from hyperseg_export.modules.phi import RotaryEmbedding
from hyperseg_export.modules.pixel_decoder import DeformableSampling


class DifferentiableRotary(nn.Module):
    """`RotaryEmbedding` in elementary steps."""

    def __init__(self, rotary_width: int) -> None:
        super().__init__()
        self.half_width = rotary_width // 2

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, position_ids: Tensor) -> Tensor:
        c, s = cos[position_ids].unsqueeze(1), sin[position_ids].unsqueeze(1)  # (B, 1, T, half)
        first, second, rest = x.split((self.half_width, self.half_width, x.shape[-1] - 2 * self.half_width), dim=-1)
        return torch.cat((first * c - second * s, second * c + first * s, rest), dim=-1)


class DifferentiableSampling(nn.Module):
    """`DeformableSampling` with GridSample, whose backward pass is fast. Never exported."""

    def __init__(self, flat_shapes: list[int]) -> None:
        super().__init__()
        self.shapes = list(zip(flat_shapes[::2], flat_shapes[1::2], strict=True))

    def forward(self, value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        batch, _, heads, channels = value.shape
        queries = locations.shape[1]
        maps = value.permute(0, 2, 3, 1).flatten(0, 1)  # (B * H, D, S)
        grids = (2 * locations - 1).transpose(1, 2).flatten(0, 1)  # (B * H, Q, L, P, 2)
        scales = weights.transpose(1, 2).flatten(0, 1)  # (B * H, Q, L, P)
        total, start = value.new_zeros(batch * heads, channels, queries), 0
        for level, (height, width) in enumerate(self.shapes):
            level_map = maps[:, :, start : start + height * width].unflatten(2, (height, width))
            samples = grid_sample(level_map, grids[:, :, level], align_corners=False)  # (B * H, D, Q, P)
            total = total + (samples * scales[:, None, :, level]).sum(-1)
            start += height * width
        return total.view(batch, heads * channels, queries).transpose(1, 2)


def make_differentiable(module: nn.Module) -> nn.Module:
    """Replace such submodules in place; parameters keep their names. Returns the same module."""
    for path, part in list(module.named_modules()):
        if isinstance(part, RotaryEmbedding):
            module.set_submodule(path, DifferentiableRotary(part.rotary_width))
        elif isinstance(part, DeformableSampling):
            module.set_submodule(path, DifferentiableSampling(part.flat_shapes))
    return module
