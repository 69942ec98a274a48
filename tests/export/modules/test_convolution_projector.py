"""The projector against layers of torch in the order of the original, norms and all."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from hyperseg_export.checkpoint.batch_norm import fold_bias, fold_scale, fold_weight
from hyperseg_export.modules.convolution_projector import ConvolutionProjector, ConvolutionProjectorConfig
from hyperseg_export.parity.compare import worst_error

CONFIG = ConvolutionProjectorConfig(map_channels=6, planes=10, out_width=7)


class Original(nn.Module):
    """psalm-spec 5.1, word for word."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(6, 10, 3, 2, 1, bias=False)
        self.conv2 = nn.Conv2d(10, 10, 3, 1, 1, bias=False)
        self.downsample = nn.Conv2d(6, 10, 1, 2, bias=False)
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm2d(10) for _ in range(3))
        self.fc = nn.Linear(10, 7)

    def forward(self, x: Tensor) -> Tensor:
        y = relu(self.bn1(self.conv1(x)))
        y = relu(self.bn2(self.conv2(self.conv2(y))) + self.bn3(self.downsample(x)))
        tokens: Tensor = self.fc(y.flatten(2).transpose(1, 2))
        return tokens


def made() -> tuple[Original, ConvolutionProjector]:
    torch.manual_seed(0)
    original = Original().eval().requires_grad_(False)
    for norm in (original.bn1, original.bn2, original.bn3):
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            assert tensor is not None
            tensor.copy_(torch.randn(10))
        assert norm.running_var is not None
        norm.running_var.copy_(torch.rand(10) + 0.1)
    ours = ConvolutionProjector(CONFIG).eval().requires_grad_(False)
    for layer, own, norm in (
        (original.conv1, ours.conv1, original.bn1),
        (original.downsample, ours.downsample, original.bn3),
    ):
        assert norm.running_var is not None and norm.running_mean is not None and own.bias is not None
        own.weight.copy_(fold_weight(layer.weight, norm.weight, norm.running_var))
        own.bias.copy_(fold_bias(norm.weight, norm.bias, norm.running_mean, norm.running_var))
    last = original.bn2
    assert last.running_var is not None and last.running_mean is not None
    ours.conv2.weight.copy_(original.conv2.weight)
    ours.norm2.scale.copy_(fold_scale(last.weight, last.running_var))
    ours.norm2.shift.copy_(fold_bias(last.weight, last.bias, last.running_mean, last.running_var))
    ours.out.weight.copy_(original.fc.weight.t())
    assert ours.out.bias is not None
    ours.out.bias.copy_(original.fc.bias)
    return original, ours


@pytest.mark.parametrize("shape", [(5, 5), (4, 6), (1, 3)])
def test_equals_the_layers_it_is_made_of(shape: tuple[int, int]) -> None:
    original, ours = made()
    x = torch.randn(2, 6, *shape)
    expected = original(x)
    assert expected.shape == (2, ConvolutionProjectorConfig.tokens(shape), 7)
    assert worst_error(ours(x).numpy(), expected.numpy()) < 1e-5


def test_the_second_convolution_is_applied_twice() -> None:
    original, ours = made()
    x = torch.randn(1, 6, 8, 8)
    once = relu(
        original.bn2(original.conv2(relu(original.bn1(original.conv1(x))))) + original.bn3(original.downsample(x))
    )
    assert worst_error(ours(x).numpy(), original.fc(once.flatten(2).transpose(1, 2)).numpy()) > 1e-2
