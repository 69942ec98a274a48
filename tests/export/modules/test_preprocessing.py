"""What the graph makes of pixels is what the host makes of them, to the last bit."""

import numpy as np
import pytest
import torch

from hyperseg_export.modules.preprocessing import LongestSideSquare, PlainSquare
from hyperseg_kernels.pillow_resize.axis import Filter
from hyperseg_runtime.images.preprocessing import fitted_size, longest_side_square, plain_square
from hyperseg_runtime.images.resize_tables import table_arrays

SIDE = 64


@pytest.mark.parametrize("image_hw", [(1, 1), (64, 64), (40, 53), (200, 31), (9, 90)])
def test_both_squares_are_the_hosts(image_hw: tuple[int, int]) -> None:
    images = np.random.default_rng(sum(image_hw)).integers(0, 256, (2, *image_hw, 3), np.uint8)
    pixels = torch.from_numpy(images).float()
    made = LongestSideSquare(SIDE)(pixels, tables(image_hw, fitted_size(*image_hw, SIDE), Filter.BILINEAR))
    stretched = PlainSquare()(pixels, tables(image_hw, (SIDE, SIDE), Filter.BICUBIC))
    for index, image in enumerate(images):
        assert np.array_equal(made[index].numpy(), longest_side_square(image, SIDE)[0])
        assert np.array_equal(stretched[index].numpy(), plain_square(image, SIDE))


def tables(source_hw: tuple[int, int], target_hw: tuple[int, int], method: Filter) -> list[torch.Tensor]:
    return [torch.from_numpy(table).int() for _, table in table_arrays("any", source_hw, target_hw, method)]
