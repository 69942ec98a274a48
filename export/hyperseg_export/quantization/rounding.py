"""Weights in few bits: symmetric, and the scales that give them back."""

from dataclasses import dataclass

import ml_dtypes
import numpy as np

from hyperseg_runtime.contracts.quantization import Scheme

LARGEST = {
    Scheme.INT8: 127.0,
    Scheme.FP8: 448.0,
    Scheme.INT4: 7.0,
    Scheme.INT8_WEIGHTS: 127.0,
    Scheme.INT8_DYNAMIC: 127.0,
}
"""The largest number of each format; -128 and -8 are left out, so that zero lies in the middle. e4m3: ONNX, "Float
stored in 8 bits"."""
STORED = {
    Scheme.INT8: np.dtype(np.int8),
    Scheme.FP8: np.dtype(ml_dtypes.float8_e4m3fn),
    Scheme.INT4: np.dtype(ml_dtypes.int4),
    Scheme.INT8_WEIGHTS: np.dtype(np.int8),
    Scheme.INT8_DYNAMIC: np.dtype(np.int8),
}


@dataclass(frozen=True)
class Rounded:
    """values * scales, broadcast along `axis` (or block by block), is about the weight."""

    values: np.ndarray
    scales: np.ndarray


def scale_of(largest: np.ndarray | float, scheme: Scheme) -> np.ndarray:
    """float32 scales for values up to `largest` in size; 1 where there is nothing but zeros."""
    found = np.asarray(largest, np.float32) / np.float32(LARGEST[scheme])
    return np.where(found > np.finfo(np.float32).tiny, found, np.float32(1)).astype(np.float32)


def per_channel(weight: np.ndarray, axis: int, scheme: Scheme) -> Rounded:
    """One scale for each index of `axis` of a float weight."""
    others = tuple(other for other in range(weight.ndim) if other != axis % weight.ndim)
    scales = scale_of(np.abs(weight).max(axis=others), scheme)
    shape = [1] * weight.ndim
    shape[axis] = -1
    return Rounded(_rounded(weight / scales.reshape(shape), scheme), scales)


def in_blocks(weight: np.ndarray, block: int, scheme: Scheme) -> Rounded:
    """weight (inputs, outputs): a scale for each output and `block` neighbouring inputs, (inputs / block, outputs)."""
    inputs, outputs = weight.shape
    blocks = weight.reshape(inputs // block, block, outputs)
    scales = scale_of(np.abs(blocks).max(axis=1), scheme)
    return Rounded(_rounded(blocks / scales[:, None], scheme).reshape(inputs, outputs), scales)


def _rounded(scaled: np.ndarray, scheme: Scheme) -> np.ndarray:
    limit = LARGEST[scheme]
    clipped = np.clip(scaled, -limit, limit)
    whole: np.ndarray = clipped if scheme is Scheme.FP8 else np.rint(clipped)
    return whole.astype(STORED[scheme])
