"""Dense layers against torch's, activations against their formulas."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import linear

from hyperseg_export.modules.linear import AdaptedLinear, Linear, Mlp, adapt, gelu, gelu_tanh

DOUBLE = 1e-12
"""Float64 on both sides, a few operations."""


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 7), st.integers(1, 7), st.booleans())
def test_linear_is_torchs_with_its_weight_transposed(inputs: int, outputs: int, bias: bool) -> None:
    ours = randomised(Linear(inputs, outputs, bias))
    x = torch.randn(2, 3, inputs, dtype=torch.float64)
    assert torch.allclose(ours(x), linear(x, ours.weight.t(), ours.bias), rtol=0, atol=DOUBLE)


def test_linear_without_bias_has_one_parameter() -> None:
    assert [name for name, _ in Linear(3, 5, bias=False).named_parameters()] == ["weight"]
    assert Linear(3, 5).weight.shape == (3, 5)


@pytest.mark.parametrize("widths", [(3, 5), (3, 7, 5), (2, 9, 1, 4)])
def test_mlp_activates_between_layers_and_not_after_the_last(widths: tuple[int, ...]) -> None:
    ours = randomised(Mlp(widths, torch.sin))
    x = torch.randn(4, widths[0], dtype=torch.float64)
    expected = x
    for index, layer in enumerate(ours.layers):
        expected = expected @ layer.weight + layer.bias
        if index < len(widths) - 2:
            expected = expected.sin()
    assert torch.allclose(ours(x), expected, rtol=0, atol=DOUBLE)
    assert ours(x).shape == (4, widths[-1])


def test_mlp_without_bias_has_matrices_only() -> None:
    assert [name for name, _ in Mlp((2, 3, 4), gelu, bias=False).named_parameters()] == [
        "layers.0.weight",
        "layers.1.weight",
    ]


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 3), st.booleans())
def test_an_adapted_layer_is_the_merged_one(inputs: int, outputs: int, ranks: int, bias: bool) -> None:
    ours = randomised(AdaptedLinear(inputs, outputs, ranks, bias))
    x = torch.randn(2, 3, inputs, dtype=torch.float64)
    merged = ours.weight + ours.down @ ours.up
    assert torch.allclose(ours(x), linear(x, merged.t(), ours.bias), rtol=0, atol=DOUBLE)


def test_adapting_replaces_the_layers_named_and_no_others() -> None:
    with torch.device("meta"):
        mlp = Mlp((3, 7, 5), gelu, bias=False)
    assert adapt(mlp, {"layers.1": 2}) is mlp
    shapes = {name: tuple(parameter.shape) for name, parameter in mlp.named_parameters()}
    assert shapes == {
        "layers.0.weight": (3, 7),
        "layers.1.weight": (7, 5),
        "layers.1.down": (7, 2),
        "layers.1.up": (2, 5),
    }
    assert all(parameter.is_meta for parameter in mlp.parameters())
    with pytest.raises(TypeError, match="layers is ModuleList, not Linear"):
        adapt(mlp, {"layers": 2})


def exact_gelu(x: float) -> float:
    return 0.5 * x * (1 + math.erf(x / math.sqrt(2)))


def tanh_gelu(x: float) -> float:
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


@pytest.mark.parametrize(("ours", "formula"), [(gelu, exact_gelu), (gelu_tanh, tanh_gelu)])
@settings(deadline=None, max_examples=60)
@given(x=st.floats(-30, 30))
def test_gelu_is_its_formula(ours: Callable[..., torch.Tensor], formula: Callable[[float], float], x: float) -> None:
    assert ours(torch.tensor(x, dtype=torch.float64)).item() == pytest.approx(formula(x), rel=DOUBLE, abs=DOUBLE)


def randomised(module: nn.Module) -> nn.Module:
    module.double().requires_grad_(False)
    for parameter in module.parameters():
        parameter.normal_()
    return module
