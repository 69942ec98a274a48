"""BatchNorm as it is in use, folded into the layer before it.

y = (W x - mean) * gain / sqrt(variance + eps) + shift is one layer with other weights. Both are computed in float64, so
that folding adds no rounding of its own, and handed on in the type they are stored in.
"""

import torch
from torch import Tensor

EPS = 1e-5


def fold_weight(weight: Tensor, gain: Tensor, variance: Tensor) -> Tensor:
    """Weight (out, ...) of the folded layer; the layer before has no bias."""
    scale = _scale(gain, variance).reshape(-1, *[1] * (weight.dim() - 1))
    return (weight.to(torch.float64) * scale).to(weight.dtype)


def fold_bias(gain: Tensor, shift: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Bias (out,) of the folded layer."""
    return (shift.to(torch.float64) - mean.to(torch.float64) * _scale(gain, variance)).to(shift.dtype)


def fold_scale(gain: Tensor, variance: Tensor) -> Tensor:
    """Factor (out,) of each channel, where the layer before cannot take it in; `fold_bias` is what is added then."""
    return _scale(gain, variance).to(gain.dtype)


def _scale(gain: Tensor, variance: Tensor) -> Tensor:
    return gain.to(torch.float64) / (variance.to(torch.float64) + EPS).sqrt()
