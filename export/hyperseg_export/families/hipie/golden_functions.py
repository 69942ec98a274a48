"""The golden case of single functions on made-up inputs, several at the published size."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hyperseg_export.modules.box_queries import BoxSine, inverse_sigmoid
from hyperseg_export.modules.dynamic_masks import DynamicMasks, aligned_double
from hyperseg_export.modules.levels import Levels, LevelSine
from hyperseg_export.modules.positions import PIXEL_CENTRE
from hyperseg_export.parity.golden import Arrays, Found

if TYPE_CHECKING:
    from hyperseg_export.families.hipie.golden_cases import GoldenRun


def functions(run: "GoldenRun", arrays: Arrays) -> Found:
    """Those of our modules that have no weights."""
    given = {name: torch.from_numpy(array) for name, array in arrays.items()}
    for name, made in _made(given):
        yield name, made.numpy(), arrays[name]


def _made(given: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    yield "aligned_x2", aligned_double(given["aligned_in"])
    yield "inverse_sigmoid", inverse_sigmoid(given["inverse_sigmoid_in"])
    yield "sine_dino", BoxSine(given["sine_dino"].shape[-1] // 4)(given["sine_boxes"])
    images = given["cond_feats"].shape[0]
    parameters, centres = (given[name].unflatten(1, (images, -1)).squeeze(0) for name in ("cond_params", "cond_refs"))
    yield "cond_out", DynamicMasks()(given["cond_feats"], parameters, centres).flatten(0, 1)[None]
    yield "pos_half_pixel_d8", _sine(given["pos_mask"], PIXEL_CENTRE)
    yield "pos_maskdino_d8", _sine(torch.zeros_like(given["pos_mask"]), 0.0)


def _sine(padding: Tensor, offset: float) -> Tensor:
    """Of one level with this padding (B, h, w): (B, 8, h, w)."""
    inside = ~padding
    valid = torch.stack((inside[:, :, 0].sum(1), inside[:, 0].sum(1)), dim=-1)[:, None]
    levels = Levels.of([torch.empty(len(padding), 1, *padding.shape[1:])], valid)
    return levels.maps(LevelSine(8, offset)(levels))[0]
