"""The definition of multi-scale deformable attention. Every other form is compared with this one."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

LevelShapes = Sequence[tuple[int, int]]  # (height, width) of every level, in the order of the value rows


def deformable_attention(
    value: Tensor, sampling_locations: Tensor, attention_weights: Tensor, level_shapes: LevelShapes
) -> Tensor:
    """Weighted sum of bilinear samples over levels and points.

    value               (B, S, H, D)          rows of all levels, level after level, row-major; S = sum(h * w)
    sampling_locations  (B, Q, H, L, P, 2)    x, y in units of the level's width and height; (0, 0) is the
                                              outer corner of the first pixel, so pixel centres lie at +0.5
    attention_weights   (B, Q, H, L, P)
    level_shapes        L pairs (height, width)
    returns             (B, Q, H * D)

    Sampling is bilinear with zeros outside (`align_corners=False`). A corner outside its level gets
    weight zero on its own, so a sample half outside still counts its inner corners, and what the map holds
    elsewhere does not matter; NaN and infinite locations have no corner inside and contribute nothing.
    Written with gathers and without GridSample (TensorRT 10.14-11.1 computes deformable attention built on
    GridSample silently wrong, NVIDIA/TensorRT#4813). Any floating dtype; pass float64 for a reference value.
    """
    batch, rows, heads, channels = value.shape
    queries, points = sampling_locations.shape[1], sampling_locations.shape[4]
    covered = sum(height * width for height, width in level_shapes)
    if covered != rows:
        raise ValueError(f"level_shapes cover {covered} rows, value has {rows}")
    value_bhsd = pad(value.permute(0, 2, 1, 3), (0, 0, 1, 0))  # row 0 is zero, for corners outside
    total = value.new_zeros(batch, heads, queries, channels)
    start = 1
    for level, (height, width) in enumerate(level_shapes):
        location = sampling_locations[:, :, :, level].permute(0, 2, 1, 3, 4)  # (B, H, Q, P, 2)
        weight = attention_weights[:, :, :, level].permute(0, 2, 1, 3)  # (B, H, Q, P)
        row, corner_weight = bilinear_corners(location, height, width)
        row = torch.where(row < 0, 0, start + row).flatten(2).unsqueeze(-1)  # (B, H, Q * 4P, 1)
        samples = value_bhsd.gather(2, row.expand(-1, -1, -1, channels))
        samples = samples.unflatten(2, (queries, 4 * points))  # (B, H, Q, 4P, D)
        scale = (corner_weight * weight.unsqueeze(-1)).flatten(3).to(value.dtype)  # (B, H, Q, 4P)
        total = total + torch.einsum("bhqk,bhqkd->bhqd", scale, samples)
        start += height * width
    return total.permute(0, 2, 1, 3).flatten(2)


def projected_attention(
    value: Tensor, references: Tensor, offsets: Tensor, logits: Tensor, level_shapes: LevelShapes
) -> Tensor:
    """The same from the raw projections of a network (Deformable DETR, appendix A.4).

    value       (B, S, H, D)
    references  (1 or B, Q, 1 or L, 2 or 4)  x, y or x, y, width, height of a box, in units of the map
    offsets     (B, Q, H, L, P, 2)           pixels of the level around a point; for a box, units of half its
                                             size over P
    logits      (B, Q, H, L, P)              attention weights are their softmax over levels and points
    returns     (B, Q, H * D)
    """
    reference = references[:, :, None, :, None]  # (1 or B, Q, 1, 1 or L, 1, 2 or 4)
    if references.shape[-1] == 2:
        extents = offsets.new_tensor([(width, height) for height, width in level_shapes])
        locations = reference + offsets / extents[:, None]
    else:
        locations = reference[..., :2] + offsets / offsets.shape[4] * reference[..., 2:] * 0.5
    weights = logits.flatten(3).softmax(-1).view_as(logits)
    return deformable_attention(value, locations, weights, level_shapes)


def bilinear_corners(location: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Rows and weights of the four pixels around each location.

    location (..., 2) -> row index (..., 4) int64 within the level, weight (..., 4); a corner outside has
    weight 0 and row -1. Corner order: (y0, x0), (y0, x1), (y1, x0), (y1, x1).
    """
    x = location[..., 0] * width - 0.5
    y = location[..., 1] * height - 0.5
    x0, y0 = torch.floor(x), torch.floor(y)
    rows, weights = [], []
    for dy in (0, 1):
        for dx in (0, 1):
            corner_x, corner_y = x0 + dx, y0 + dy
            inside = (corner_x >= 0) & (corner_x < width) & (corner_y >= 0) & (corner_y < height)
            weight = (x - x0 if dx else 1 - (x - x0)) * (y - y0 if dy else 1 - (y - y0))
            row = torch.where(inside, corner_y * width + corner_x, -1.0)
            rows.append(row.to(torch.int64))
            weights.append(torch.where(inside, weight, 0.0))
    return torch.stack(rows, -1), torch.stack(weights, -1)
