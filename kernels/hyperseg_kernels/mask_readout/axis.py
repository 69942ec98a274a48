"""The way from a network's pixels to those of the image, one axis at a time, as tables of four taps.

A mask goes up to the padded square, is cut to the valid area, and goes from there to the image (hyperseg-spec 6.8).
Both resizes are linear and treat rows and columns apart, so along one axis they are together a weighted sum of at
most 2 x 2 source pixels. One bilinear resize cannot say this; four taps say it exactly.
"""

from dataclasses import dataclass

import numpy as np

TAPS = 4


@dataclass(frozen=True)
class Axis:
    """Pixel p of the image takes weight[k, p] of source pixel index[k, p], for every tap k."""

    index: np.ndarray  # (4, size) int32
    weight: np.ndarray  # (4, size) float32, not negative, 1 in sum

    @property
    def size(self) -> int:
        return int(self.index.shape[1])


def axis(source_px: int, padded_px: int, valid_px: int, original_px: int) -> Axis:
    """From `source_px` to `padded_px`, of which the first `valid_px` become `original_px`. Raises ValueError for sizes
    that mean nothing."""
    if min(source_px, padded_px, valid_px, original_px) < 1 or valid_px > padded_px:
        raise ValueError(
            f"sizes must be at least 1 px and the valid part no larger than the padded map: source {source_px}, "
            f"padded {padded_px}, valid {valid_px}, original {original_px}"
        )
    lower, upper, share = bilinear_samples(source_px, padded_px)
    first, second, second_share = bilinear_samples(valid_px, original_px)
    index = [lower[first], upper[first], lower[second], upper[second]]
    share, second_share = share.astype(np.float64), second_share.astype(np.float64)
    weight = [
        (1 - second_share) * (1 - share[first]),
        (1 - second_share) * share[first],
        second_share * (1 - share[second]),
        second_share * share[second],
    ]
    return Axis(np.stack(index).astype(np.int32), np.stack(weight).astype(np.float32))


def bilinear_samples(source_px: int, target_px: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every target pixel: lower source pixel, upper source pixel, share of the upper one.

    As PyTorch's `interpolate(align_corners=False)` does it: the scale is float32 and scale * position - 0.5 is
    rounded once, like the fused multiply-add of PyTorch's CPU kernel; a second rounding moves samples by up to
    1e-5 px.
    """
    scale = np.float32(source_px) / np.float32(target_px)
    position = ((np.arange(target_px) + 0.5) * np.float64(scale) - 0.5).astype(np.float32)
    position = np.maximum(position, np.float32(0))
    lower = np.minimum(position.astype(np.int64), source_px - 1)
    upper = np.minimum(lower + 1, source_px - 1)
    return lower, upper, position - lower.astype(np.float32)
