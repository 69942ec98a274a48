"""Regions as masks, against PSALM's own prompts, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hyperseg_runtime.contracts.requests import Regions
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.images.regions import region_masks, region_names

GOLDEN = Path(__file__).parents[2] / "golden" / "psalm" / "region_preprocess.npz"
SIZE = (30, 40)


def test_equal_the_prompts_of_the_original() -> None:
    """Brought to the network's size as it does: resized to the valid area, nearest pixel, padded with nothing."""
    with np.load(GOLDEN) as golden:
        point, mask, box, scribble = golden["prompt_masks_raw"].astype(bool)
        shape = golden["region_masks_shape"]
        expected = np.unpackbits(golden["region_masks_packed"])[: np.prod(shape)].reshape(shape).astype(bool)
        height, width = golden["valid_hw"].tolist()
    ((y, x),) = np.argwhere(point)
    rows, columns = np.flatnonzero(box.any(1)), np.flatnonzero(box.any(0))
    corners = (float(columns[0]), float(rows[0]), columns[-1] + 1.0, rows[-1] + 1.0)
    asked = Regions(((float(x), float(y)),), (corners,), (scribble,), (mask,))
    for found, wanted in zip(region_masks(asked, point.shape), expected[[0, 2, 3, 1]], strict=True):
        resized = np.asarray(Image.fromarray(found).resize((width, height), Image.Resampling.NEAREST))
        assert np.array_equal(np.pad(resized, ((0, 1024 - height), (0, 1024 - width))), wanted)


def test_a_box_holds_every_pixel_it_touches() -> None:
    (mask,) = region_masks(Regions(boxes_xyxy=((1.5, 2, 4, 4.2),)), SIZE)
    assert np.argwhere(mask).min(0).tolist() == [2, 1] and np.argwhere(mask).max(0).tolist() == [4, 3]
    assert mask.sum() == 3 * 3


@given(st.floats(0, 39.99), st.floats(0, 29.99))
def test_a_point_is_a_disc_inside_the_image(x: float, y: float) -> None:
    (mask,) = region_masks(Regions(points_xy=((x, y),)), SIZE)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    assert np.array_equal(mask, (rows - int(y)) ** 2 + (columns - int(x)) ** 2 <= 100)


def test_names_stand_in_the_order_of_the_masks() -> None:
    mask = np.zeros(SIZE, bool)
    mask[3, 4] = True
    asked = Regions(((1.0, 2.5),), ((0.0, 0.0, 2.0, 3.0),), (mask,), (mask, mask))
    assert region_names(asked) == ("point 1,2.5", "box 0,0,2,3", "scribble 1", "mask 1", "mask 2")
    assert [int(found.sum()) for found in region_masks(asked, SIZE)][1:] == [6, 72, 1, 1]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Regions(points_xy=((40.0, 3.0),)), "the point 40,3 lies outside the image: the image has 40 x 30 px"),
        (Regions(points_xy=((3.0, -1.0),)), "the point 3,-1 lies outside the image"),
        (Regions(boxes_xyxy=((3.0, 4.0, 3.0, 9.0),)), "the box 3,4,3,9 has no area"),
        (Regions(boxes_xyxy=((3.0, 9.0, 5.0, 4.0),)), "the box 3,9,5,4 has no area"),
        (Regions(boxes_xyxy=((3.0, 4.0, 41.0, 9.0),)), "the box 3,4,41,9 reaches outside the image"),
        (Regions(masks=(np.zeros(SIZE, bool),)), "mask 1 marks no pixel"),
        (Regions(scribbles=(np.ones((30, 41), bool),)), r"scribble 1 is bool \(30, 41\), expected bool \(30, 40\)"),
    ],
)
def test_regions_that_are_none(asked: Regions, message: str) -> None:
    with pytest.raises(InputError, match=message):
        region_masks(asked, SIZE)
