"""What helps training and is thrown away afterwards: linear heads on features, and queries from known attributes."""

import math

import torch
from torch import Tensor, nn

from hyperseg_export.families.hyperseg.layout import Sizes
from hyperseg_export.families.hyperseg.training.scenes import CLASSES

BINS = 8
"""Places along an axis that a head tells apart."""
OUTPUTS = (*CLASSES, BINS, BINS)
"""Of every head: colour, shape, texture, size, column and row of the thing's centre."""
WAVES = 4


class Head(nn.Linear):
    """Features (..., C) -> logits of all `OUTPUTS` side by side, and the centre's offset from here (dx, dy)."""

    def __init__(self, width: int) -> None:
        super().__init__(width, sum(OUTPUTS) + 2)


class Oracle(nn.Module):
    """Hidden states that a perfect language model would give: a stand-in for it while masks are learned.

    attributes (N, 4) int64 with 0 for "not said", centres (N, 2), known (N,) bool: whether the place is said
    -> (N, D), normalised as hidden states are.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(classes, width) for classes in CLASSES)
        self.place = nn.Linear(4 * WAVES, width)
        self.mix = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)

    def forward(self, attributes: Tensor, centres: Tensor, known: Tensor) -> Tensor:
        said = torch.stack([table(attributes[:, column]) for column, table in enumerate(self.tables)]).sum(0)
        rates = math.pi * 2.0 ** torch.arange(WAVES, device=centres.device)
        angles = (centres.unsqueeze(-1) * rates).flatten(1)  # (N, 2 * WAVES)
        place = self.place(torch.cat((angles.sin(), angles.cos()), dim=1)) * known.unsqueeze(1)
        x = said + place
        code: Tensor = self.norm(x + self.mix(x))
        return code


class Auxiliaries(nn.Module):
    """All of them for a network of given sizes."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.heads = nn.ModuleDict(
            {
                "res3": Head(2 * sizes.swin_width),
                "res4": Head(4 * sizes.swin_width),
                "encoded_s16": Head(sizes.mask_width),
                "encoded_s8": Head(sizes.mask_width),
                "mask_features": Head(sizes.mask_width),
                "image_tokens": Head(sizes.width),
                "fvp_tokens": Head(sizes.width),
                "queries": Head(sizes.width),
                "conditions": Head(sizes.width),
            }
        )
        self.oracle = Oracle(sizes.width)
        self.query_offsets = nn.Parameter(0.3 * torch.randn(sizes.mask_queries, sizes.width))
