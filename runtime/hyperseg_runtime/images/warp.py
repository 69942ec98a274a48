"""Cubic warping of images by a scale and a shift, with the arithmetic of OpenCV 4 (unilseg-spec 3.2).

OpenCV 5 places samples elsewhere than OpenCV 4, and models were trained and published with 4. Hence our own
arithmetic: results are the same whichever OpenCV is installed. The rule:

1. Pixel centres are whole numbers. Output pixel x takes its value at `scale * x + shift` of the source.
2. That position is computed in units of 1/1024 px, rounded half to even, and rounded on to 1/32 px. Along a row
   `scale * x` and `shift` are rounded apart and then added; along a column their sum is rounded.
3. With the whole part p and the fraction t in 32nds, the sources are p-1, p, p+1 and p+2, weighted by the cubic
   kernel with a = -0.75. There is no antialiasing. A source outside the image has the border's value.
4. uint8: a pixel has 16 weights, products of float32 kernel values, in units of 1/32768. Where rounding keeps
   their sum from 32768, one of the four at p+1 and p+2 is corrected: the largest gets what is missing, the
   smallest gives what is too much. The sum is rounded half up and clamped to 0..255.
5. float32: weights and sums are float32, along rows first. (OpenCV sums the 16 products at once; that differs
   in the last bits.) Values may leave the range of the source, as cubic kernels overshoot.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from hyperseg_runtime.calls.stopping import may_go_on

KERNEL_A = -0.75
FRACTIONS = 32
"""Positions between two pixels that are told apart."""
POSITION_UNIT = 1024
WEIGHT_UNIT = 32768
CHUNK_ELEMENTS = 1 << 16
"""Elements of one array at a time: what is computed row by row stays in the processor's cache."""


@dataclass(frozen=True)
class ScaleShift:
    """A map of pixel positions: `scale * position + shift`, the same scale for rows and columns."""

    scale: float
    shift_y: float
    shift_x: float

    def inverse(self) -> "ScaleShift":
        return ScaleShift(1 / self.scale, -self.shift_y / self.scale, -self.shift_x / self.scale)


@dataclass(frozen=True)
class _Taps:
    """Where the outputs along one axis come from."""

    sources: np.ndarray  # (4, outputs) int64: indices into the source, its extent where outside of it
    fractions: np.ndarray  # (outputs,) int64 in 0..31


def warp_u8(
    image_hwc_u8: np.ndarray, to_source: ScaleShift, size_hw: tuple[int, int], border_rgb: tuple[int, int, int]
) -> np.ndarray:
    """(h, w, 3) uint8 -> (H, W, 3) uint8, equal in every byte to OpenCV 4's warpAffine with INTER_CUBIC.

    `to_source` maps positions of the output to positions of the image (the inverse of the matrix that
    warpAffine takes). What lies outside the image has the colour `border_rgb`.
    """
    height, width, channels = image_hwc_u8.shape
    rows, columns = _row_taps(size_hw[0], to_source, height), _column_taps(size_hw[1], to_source, width)
    weights = _fixed_point_weights()
    # Channel after channel, so that a row of weights lies along the last axis.
    samples = columns.sources[:, None, :] * channels + np.arange(channels)[:, None]
    samples = samples.reshape(4, channels * size_hw[1])
    warped = np.empty((size_hw[0], channels, size_hw[1]), np.uint8)
    step = max(CHUNK_ELEMENTS // (channels * size_hw[1]), 1)
    for start in range(0, size_hw[0], step):
        may_go_on()
        chunk = slice(start, min(start + step, size_hw[0]))
        total = np.full((chunk.stop - start, channels, size_hw[1]), WEIGHT_UNIT // 2, np.int32)
        row_weights = weights[:, :, rows.fractions[chunk]]
        for i in range(4):
            lines = _lines(image_hwc_u8, rows.sources[i, chunk], np.array(border_rgb, np.uint8))
            for j in range(4):
                values = lines.take(samples[j], axis=1, mode="clip").reshape(total.shape)
                weight = row_weights[i, j].take(columns.fractions, axis=1, mode="clip")
                total += np.multiply(values, weight[:, None, :], dtype=np.int32)
        warped[chunk] = np.clip(total // WEIGHT_UNIT, 0, 255)
    return np.ascontiguousarray(warped.transpose(0, 2, 1))


def warp_f32(plane: np.ndarray, to_source: ScaleShift, size_hw: tuple[int, int]) -> np.ndarray:
    """(h, w) float32 -> (H, W) float32; 0 outside. Equal to OpenCV 4's warpAffine but for the order of sums.

    `to_source` maps positions of the output to positions of the plane.
    """
    height, width = plane.shape
    rows, columns = _row_taps(size_hw[0], to_source, height), _column_taps(size_hw[1], to_source, width)
    framed = np.zeros((height + 1, width + 1), np.float32)  # one row and one column of border, for sources outside
    framed[:height, :width] = plane
    kernel = cubic_kernel()
    wide = np.zeros((height + 1, size_hw[1]), np.float32)
    for sources, weight in zip(columns.sources, kernel.T, strict=True):
        wide += framed.take(sources, axis=1) * weight[columns.fractions]
    warped = np.empty(size_hw, np.float32)
    step = max(CHUNK_ELEMENTS // size_hw[1], 1)
    for start in range(0, size_hw[0], step):
        may_go_on()
        chunk = slice(start, start + step)
        weights = kernel[rows.fractions[chunk]]
        total = warped[chunk]
        np.multiply(wide[rows.sources[0, chunk]], weights[:, :1], out=total)
        for i in range(1, 4):
            total += wide[rows.sources[i, chunk]] * weights[:, i : i + 1]
    return warped


@cache
def cubic_kernel() -> np.ndarray:
    """Weights of the four sources for each fraction, (32, 4) float32; exact, as they are multiples of 2**-17."""
    a = KERNEL_A
    t = np.arange(FRACTIONS) / FRACTIONS
    kernel = np.empty((FRACTIONS, 4))
    kernel[:, 0] = ((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a
    kernel[:, 1] = ((a + 2) * t - (a + 3)) * t * t + 1
    kernel[:, 2] = ((a + 2) * (1 - t) - (a + 3)) * (1 - t) * (1 - t) + 1
    kernel[:, 3] = 1 - kernel[:, :3].sum(axis=1)
    return kernel.astype(np.float32)


@cache
def _fixed_point_weights() -> np.ndarray:
    """Weight of source (i, j) at fraction (fy, fx) in units of 1/32768, (4, 4, 32, 32) int32; sums are 32768."""
    kernel = cubic_kernel()
    products = kernel[:, None, :, None] * kernel[None, :, None, :]
    weights = np.rint(products * np.float32(WEIGHT_UNIT)).astype(np.int32).reshape(FRACTIONS * FRACTIONS, 4, 4)
    excess = weights.sum(axis=(1, 2)) - WEIGHT_UNIT
    later = weights[:, 2:, 2:].reshape(-1, 4)
    corrected = np.where(excess > 0, later.argmin(axis=1), later.argmax(axis=1))
    weights[np.arange(len(weights)), 2 + corrected // 2, 2 + corrected % 2] -= excess
    return np.ascontiguousarray(weights.reshape(FRACTIONS, FRACTIONS, 4, 4).transpose(2, 3, 0, 1))


def _row_taps(outputs: int, to_source: ScaleShift, extent: int) -> _Taps:
    return _taps(np.rint((to_source.scale * np.arange(outputs) + to_source.shift_y) * POSITION_UNIT), extent)


def _column_taps(outputs: int, to_source: ScaleShift, extent: int) -> _Taps:
    moved = np.rint(to_source.scale * np.arange(outputs) * POSITION_UNIT)
    return _taps(moved + np.rint(to_source.shift_x * POSITION_UNIT), extent)


def _taps(positions: np.ndarray, extent: int) -> _Taps:
    """`positions` in units of 1/1024 px, whole numbers."""
    per_fraction = POSITION_UNIT // FRACTIONS
    quantised = (positions.astype(np.int64) + per_fraction // 2) // per_fraction
    sources = quantised // FRACTIONS + np.arange(-1, 3)[:, None]
    sources[(sources < 0) | (sources >= extent)] = extent
    return _Taps(sources, quantised % FRACTIONS)


def _lines(image_hwc_u8: np.ndarray, rows: np.ndarray, border: np.ndarray) -> np.ndarray:
    """Rows of an image with one pixel of border at the end, (n, (w + 1) * channels); row `height` is all border."""
    height, width, channels = image_hwc_u8.shape
    lines = np.empty((len(rows), width + 1, channels), np.uint8)
    lines[:, :width] = image_hwc_u8[np.minimum(rows, height - 1)]
    lines[:, width] = border
    lines[rows == height] = border
    return lines.reshape(len(rows), -1)
