"""How much of each level is image, against masks that are resized as the original resizes them."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from hyperseg_runtime.families.hipie.padding import STRIDES, valid_sizes


@pytest.mark.parametrize(
    ("image", "canvas"),
    [((72, 106), (72, 106)), ((64, 94), (97, 94)), ((97, 64), (97, 94)), ((1024, 1361), (1056, 1376))],
)
def test_masks_of_padding_resized_to_the_nearest(image: tuple[int, int], canvas: tuple[int, int]) -> None:
    """hipie-spec 7."""
    inside = torch.zeros(1, 1, *canvas)
    inside[:, :, : image[0], : image[1]] = 1
    sizes = [(-(-canvas[0] // stride), -(-canvas[1] // stride)) for stride in STRIDES]
    masks = [interpolate(inside, size) for size in sizes]
    masks.append(interpolate(masks[0], (-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2))))
    expected = [[int(mask[0, 0, :, 0].sum()), int(mask[0, 0, 0].sum())] for mask in masks]
    assert valid_sizes(image, canvas).tolist() == expected


def test_without_padding_all_is_image() -> None:
    found = valid_sizes((1024, 1300), (1024, 1300))
    assert found.dtype == np.int64
    assert found.tolist() == [[128, 163], [64, 82], [32, 41], [16, 21]]
