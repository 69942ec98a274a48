"""Mask networks of many queries at once, against one convolution after another for each."""

import torch
from torch import Tensor
from torch.nn.functional import conv2d, relu

from hyperseg_export.modules.dynamic_masks import DynamicMasks, aligned_double, parameter_count

CHANNELS, HEIGHT, WIDTH = 3, 4, 6


def one_by_one(mask_map: Tensor, parameters: Tensor, centre: Tensor) -> Tensor:
    """hipie-spec 11.1, for one query; before it is enlarged."""
    y = torch.arange(HEIGHT, dtype=torch.float64)[:, None].expand(HEIGHT, WIDTH) * 8 + 4
    x = torch.arange(WIDTH, dtype=torch.float64).expand(HEIGHT, WIDTH) * 8 + 4
    z = torch.cat((torch.stack((centre[0] - x, centre[1] - y)), mask_map))[None]
    first, second, third, bias1, bias2, bias3 = parameters.split([8 * (2 + CHANNELS), 64, 8, 8, 8, 1])
    z = relu(conv2d(z, first.view(8, -1, 1, 1), bias1))
    z = relu(conv2d(z, second.view(8, 8, 1, 1), bias2))
    return conv2d(z, third.view(1, 8, 1, 1), bias3)[0, 0]


def test_every_query_has_its_own_network() -> None:
    mask_map = torch.randn(2, CHANNELS, HEIGHT, WIDTH, dtype=torch.float64)
    parameters = torch.randn(2, 5, parameter_count(CHANNELS), dtype=torch.float64)
    centres = torch.rand(2, 5, 2, dtype=torch.float64) * 40
    found = DynamicMasks()(mask_map, parameters, centres)
    for image in range(2):
        for query in range(5):
            expected = one_by_one(mask_map[image], parameters[image, query], centres[image, query])
            assert torch.allclose(found[image, query], aligned_double(expected[None, None])[0, 0])


def test_places_of_the_enlarged_map() -> None:
    row = torch.tensor([0.0, 10.0, 30.0])
    found = aligned_double(row.expand(1, 1, 2, 3))
    assert found.shape == (1, 1, 4, 6)
    assert found[0, 0, 0].tolist() == [0, 0, 5, 10, 20, 30]
