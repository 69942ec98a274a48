"""From the pixels of a photograph to what the encoders take (hyperseg-spec 3.1, 3.2), byte for byte as on the host."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from hyperseg_export.modules.constants import ConstantModule
from hyperseg_kernels.pillow_resize.torch_op import pillow_resize
from hyperseg_runtime.images.preprocessing import PADDING_VALUE, PIXEL_MEAN, PIXEL_STD


class LongestSideSquare(ConstantModule):
    """`images.preprocessing.longest_side_square`: pixels (B, h, w, 3), tables -> (B, 3, side, side) float32."""

    def __init__(self, side_px: int) -> None:
        super().__init__()
        self.side_px = side_px
        self.register_constant("mean", lambda: torch.tensor(PIXEL_MEAN))
        self.register_constant("std", lambda: torch.tensor(PIXEL_STD))

    def forward(self, pixels: Tensor, tables: Sequence[Tensor]) -> Tensor:
        resized = pillow_resize(pixels, *tables)
        # Padding is cut to size: its amount would have to be known not to be negative.
        padded = pad(resized, (0, 0, 0, self.side_px, 0, self.side_px), value=float(PADDING_VALUE))
        square = padded[:, : self.side_px, : self.side_px]
        return ((square - self.get_buffer("mean")) / self.get_buffer("std")).permute(0, 3, 1, 2)


class PlainSquare(ConstantModule):
    """`images.preprocessing.plain_square`: pixels (B, h, w, 3), tables -> (B, 3, side, side) float32.

    By constants and not by numbers: on a GPU torch multiplies by the rounded inverse of a number (torch 2.11, H200: 37
    to 50 % of the results differed, benchmarks/results/h200/before).
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_constant("largest", lambda: torch.tensor([255.0]))
        self.register_constant("middle", lambda: torch.tensor([0.5]))

    def forward(self, pixels: Tensor, tables: Sequence[Tensor]) -> Tensor:
        resized = pillow_resize(pixels, *tables)
        middle = self.get_buffer("middle")
        return ((resized / self.get_buffer("largest") - middle) / middle).permute(0, 3, 1, 2)
