"""Random weights, the same for our modules and for those they are compared with."""

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from hyperseg_export.checkpoint.weights import transposed_names

Randomise = Callable[[nn.Module], nn.Module]
Load = Callable[[nn.Module, Mapping[str, Tensor]], nn.Module]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def randomise() -> Randomise:
    """Make a module float64 with parameters that keep the size of what they multiply, none of them zero or one."""

    def fill(module: nn.Module) -> nn.Module:
        generator = torch.Generator().manual_seed(0)
        module.double().eval()
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(False)
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            gain = 1.0 if parameter.dim() == 1 and name.endswith("weight") else 0.0
            parameter.copy_(gain + noise * (0.3 if parameter.dim() == 1 else parameter[0].numel() ** -0.5))
        return module

    return fill


@pytest.fixture
def load() -> Load:
    """Give one of our modules exactly these weights, matrices as torch stores them: (out, in)."""

    def fill(module: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
        swapped = transposed_names(module)
        module.double().eval().requires_grad_(False)
        module.load_state_dict({name: value.t() if name in swapped else value for name, value in weights.items()})
        return module

    return fill
