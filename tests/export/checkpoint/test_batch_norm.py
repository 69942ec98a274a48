"""A folded layer is the layer and the norm after it."""

import pytest
import torch
from torch import nn

from hyperseg_export.checkpoint.batch_norm import fold_bias, fold_scale, fold_weight
from hyperseg_export.parity.compare import worst_error

CASES = {
    "convolution": (nn.Conv2d(3, 5, 3, bias=False), nn.BatchNorm2d(5), (2, 3, 6, 7)),
    "linear": (nn.Linear(4, 5, bias=False), nn.BatchNorm1d(5), (6, 4)),
}


@pytest.mark.parametrize("case", CASES)
def test_one_layer_does_what_two_did(case: str) -> None:
    layer, norm, shape = CASES[case]
    layer, norm = layer.double().requires_grad_(False), norm.double().eval().requires_grad_(False)
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        tensor.copy_(torch.randn(5))
    norm.running_var.copy_(torch.rand(5) + 1e-5)  # as small as the norm's own epsilon
    x = torch.randn(shape, dtype=torch.float64)
    expected = norm(layer(x))

    bias = fold_bias(norm.weight, norm.bias, norm.running_mean, norm.running_var)
    layer.weight.copy_(fold_weight(layer.weight, norm.weight, norm.running_var))
    layer.bias = nn.Parameter(bias, requires_grad=False)

    assert worst_error(layer(x).numpy(), expected.numpy()) < 1e-12


def test_a_norm_alone_is_a_factor_and_a_summand() -> None:
    norm = nn.BatchNorm2d(5).double().eval().requires_grad_(False)
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        tensor.copy_(torch.randn(5))
    norm.running_var.copy_(torch.rand(5) + 1e-5)
    x = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    scale = fold_scale(norm.weight, norm.running_var)[:, None, None]
    shift = fold_bias(norm.weight, norm.bias, norm.running_mean, norm.running_var)[:, None, None]
    assert worst_error((x * scale + shift).numpy(), norm(x).numpy()) < 1e-12


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_stored_type_stays(dtype: torch.dtype) -> None:
    parts = [torch.ones(5, dtype=dtype) for _ in range(4)]
    assert fold_bias(*parts).dtype is dtype
    assert fold_weight(torch.ones(5, 3, dtype=dtype), *parts[:2]).dtype is dtype
    assert fold_scale(*parts[:2]).dtype is dtype
