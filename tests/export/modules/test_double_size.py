"""The product equals the transposed convolution that it stands for."""

import pytest
import torch
from torch import nn

from hyperseg_export.modules.double_size import DoubleSize


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (16, 9)])
def test_it_is_the_transposed_convolution(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    module, x = DoubleSize(6, 4).double(), torch.randn(2, 6, *size, dtype=torch.float64)
    with torch.inference_mode():
        expected = nn.functional.conv_transpose2d(x, module.weight, module.bias, stride=2)
        torch.testing.assert_close(module(x), expected, rtol=1e-12, atol=1e-12)
