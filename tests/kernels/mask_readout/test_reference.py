"""The definition against the post-processing that is compared with the original code."""

import numpy as np
import pytest

from hyperseg_kernels.mask_readout.axis import Axis, axis
from hyperseg_kernels.mask_readout.reference import PARTS, read_masks
from hyperseg_runtime.heads.referring import all_queries
from hyperseg_runtime.images.preprocessing import ImageGeometry, fitted_size
from mask_readout_support import Case, random_case, undecided

ONE_PIXEL = Axis(np.zeros((4, 1), np.int32), np.full((4, 1), 0.25, np.float32))


@pytest.mark.parametrize("original_hw", [(48, 64), (90, 37), (200, 333), (1, 500), (64, 64)])
def test_pixels_and_scores_are_those_of_the_head(original_hw: tuple[int, int]) -> None:
    geometry = ImageGeometry(original_hw, fitted_size(*original_hw, 128), (128, 128))
    logits = random_case(0, (1, 6, 32, 32), 0, (8, 8)).logits
    rows, columns = (axis(32, 128, *pair) for pair in zip(geometry.valid_hw, original_hw, strict=True))
    case = Case(logits, np.arange(6, dtype=np.int32)[None], rows, columns)
    found = read_masks(logits, case.shown, rows, columns)
    scored = all_queries(logits[0], np.full(6, 100, np.float32), geometry)  # the query's own score is 1
    for query, (expected, doubtful) in enumerate(zip(scored, undecided(case)[0], strict=True)):
        assert not ((found.pixels[0, query] != expected.mask) & ~doubtful).any()
        assert found.qualities()[0, query] == pytest.approx(expected.score, abs=1e-6 + doubtful.mean())


def test_a_logit_of_zero_and_nan_are_outside_and_infinity_is_certain() -> None:
    logits = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1e-30, 100.0]).reshape(1, 7, 1, 1)
    found = read_masks(logits, np.arange(7)[None], ONE_PIXEL, ONE_PIXEL)
    assert found.areas[..., 0].tolist() == [[0, 0, 0, 1, 0, 1, 1]]
    assert found.sums[..., 0].tolist() == [[0, 0, 0, 1, 0, 0.5, 1]]
    assert not found.areas[..., 1:].any() and not found.sums[..., 1:].any()
    assert found.pixels.reshape(-1).tolist() == [False, False, False, True, False, True, True]


def test_rows_are_dealt_out_to_the_parts() -> None:
    height = PARTS + 3
    inside = np.zeros((1, 1, height, 2))
    inside[0, 0, [1, PARTS + 1, 4]] = [[5, 5], [5, -5], [5, -5]]
    rows, columns = (
        Axis(np.tile(np.arange(size, dtype=np.int32), (4, 1)), np.full((4, size), 0.25, np.float32))
        for size in (height, 2)
    )
    areas = read_masks(inside, np.zeros((1, 0), np.int32), rows, columns).areas[0, 0]
    assert {part: int(area) for part, area in enumerate(areas) if area} == {1: 3, 4: 1}


def test_the_quality_of_an_empty_mask_is_zero() -> None:
    found = read_masks(np.full((1, 2, 1, 1), -3.0), np.zeros((1, 0), np.int32), ONE_PIXEL, ONE_PIXEL)
    assert found.qualities().tolist() == [[0, 0]] and found.pixels.shape == (1, 0, 1, 1)


@pytest.mark.parametrize("query", [-1, 2])
def test_a_query_that_is_not_there_cannot_be_shown(query: int) -> None:
    with pytest.raises(ValueError, match="there are 2"):
        read_masks(np.zeros((1, 2, 1, 1)), np.array([[query]]), ONE_PIXEL, ONE_PIXEL)
