"""The dense layers everything else is made of."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class Linear(nn.Module):
    """`x @ weight + bias` with the weight stored (in, out).

    Stored this way the exported MatMul reads its initializer as it is: no Transpose node, no folded copy,
    and the initializer keeps the parameter's name (needed to refit or swap weights by name).
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(in_features, out_features))
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        y = x @ self.weight
        return y if self.bias is None else y + self.bias


class RowPooling(nn.Module):
    """Weighted sums of rows: weights (B, R, T), rows (B, T, D) -> (B, R, D)."""

    def forward(self, weights: Tensor, rows: Tensor) -> Tensor:
        return weights @ rows


class Mlp(nn.Module):
    """Linear layers of the given widths with `activation` between them, none after the last."""

    def __init__(self, widths: Sequence[int], activation: Callable[[Tensor], Tensor], bias: bool = True) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Linear(i, o, bias) for i, o in pairwise(widths))
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


def gelu(x: Tensor) -> Tensor:
    """Gaussian error linear unit, exact (erf) form."""
    return torch.nn.functional.gelu(x)


def gelu_tanh(x: Tensor) -> Tensor:
    """Tanh approximation; also the function transformers calls `gelu_new`."""
    return torch.nn.functional.gelu(x, approximate="tanh")
