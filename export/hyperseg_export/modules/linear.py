"""The dense layers everything else is made of."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from hyperseg_export.modules.islands import Island


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


class AdaptedLinear(Linear):
    """A linear layer with a low-rank branch beside it: `x @ weight + bias + (x @ down) @ up`.

    down (in, ranks) and up (ranks, out) hold LoRA factors (arXiv 2106.09685). Several adapters of parts of
    one packed projection lie side by side in `ranks`; zeros in `up` keep each to its own outputs.
    """

    def __init__(self, in_features: int, out_features: int, ranks: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        self.down = nn.Parameter(torch.empty(in_features, ranks))
        self.up = nn.Parameter(torch.empty(ranks, out_features))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + (x @ self.down) @ self.up


def adapt(module: nn.Module, ranks: Mapping[str, int]) -> nn.Module:
    """Put an `AdaptedLinear` of so many ranks in place of each linear layer named. Returns the same module.

    Meant for modules without weights: the new layers start empty, on the device of the old ones.
    """
    for path, count in ranks.items():
        plain = module.get_submodule(path)
        if not isinstance(plain, Linear):
            raise TypeError(f"{path} is {type(plain).__name__}, not Linear")
        with plain.weight.device:
            adapted = AdaptedLinear(plain.weight.shape[0], plain.weight.shape[1], count, plain.bias is not None)
        module.set_submodule(path, adapted)
    return module


class RowPooling(nn.Module):
    """Weighted sums of rows: weights (B, R, T), rows (B, T, D) -> (B, R, D)."""

    island = Island("takes float32 inputs of the graph as they come", stays_wide=True)

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


def quick_gelu(x: Tensor) -> Tensor:
    """Sigmoid approximation that CLIP (arXiv 2103.00020) was trained with."""
    return x * torch.sigmoid(1.702 * x)
