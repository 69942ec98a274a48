"""The definition against two others: plain loops, and torch's own grid_sample."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy
from torch import Tensor
from torch.nn.functional import grid_sample

from hyperseg_kernels.deformable_attention.reference import bilinear_corners, deformable_attention

EXACT = 1e-12
"""Two float64 sums of at most 64 products of numbers up to 1."""

Call = tuple[Tensor, Tensor, Tensor, list[tuple[int, int]]]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_equals_plain_loops(calls: SearchStrategy[Call], data: DataObject) -> None:
    value, locations, weights, shapes = data.draw(calls)
    arguments = value.double(), locations.double(), weights.double()
    found = deformable_attention(*arguments, shapes)
    torch.testing.assert_close(found, loops(*arguments, shapes), rtol=0, atol=EXACT)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_equals_grid_sample_where_locations_are_finite(finite_calls: SearchStrategy[Call], data: DataObject) -> None:
    value, locations, weights, shapes = data.draw(finite_calls)
    arguments = value.double(), locations.double(), weights.double()
    found = deformable_attention(*arguments, shapes)
    torch.testing.assert_close(found, with_grid_sample(*arguments, shapes), rtol=0, atol=EXACT)


def test_pixel_centre_reads_that_pixel_alone() -> None:
    value = torch.arange(12, dtype=torch.float64).reshape(1, 12, 1, 1)
    centres = [((column + 0.5) / 4, (row + 0.5) / 3) for row in range(3) for column in range(4)]
    locations = torch.tensor(centres, dtype=torch.float64).reshape(1, 12, 1, 1, 1, 2)
    found = deformable_attention(value, locations, torch.ones(1, 12, 1, 1, 1, dtype=torch.float64), [(3, 4)])
    torch.testing.assert_close(found.flatten(), value.flatten(), rtol=0, atol=EXACT)


def test_half_of_a_sample_on_the_border_is_zero() -> None:
    value = torch.ones(1, 6, 1, 1, dtype=torch.float64)
    locations = torch.tensor([[0.0, 0.5], [0.5, 1.0], [0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    weights = torch.ones(1, 4, 1, 1, 1, dtype=torch.float64)
    found = deformable_attention(value, locations.reshape(1, 4, 1, 1, 1, 2), weights, [(2, 3)])
    assert found.flatten().tolist() == [0.5, 0.5, 0.25, 0.25]


@pytest.mark.parametrize("coordinate", [math.nan, math.inf, -math.inf, 1e30, -1e30, -1.0, 2.0])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_location_without_a_corner_inside_counts_nothing(coordinate: float, axis: int) -> None:
    location = torch.full((1, 1, 1, 1, 1, 2), 0.5)
    location[..., axis] = coordinate
    found = deformable_attention(torch.ones(1, 6, 1, 4), location, torch.ones(1, 1, 1, 1, 1), [(2, 3)])
    assert torch.equal(found, torch.zeros(1, 1, 4))


def test_what_the_map_holds_elsewhere_does_not_matter() -> None:
    value = torch.full((1, 6, 1, 4), math.nan)
    value[:, 4] = 1.0  # row 1, column 1 of 2 x 3
    locations = torch.tensor([[-1.0, 0.5], [0.5, 2.0], [math.nan, 0.5]]).reshape(1, 3, 1, 1, 1, 2)
    found = deformable_attention(value, locations, torch.ones(1, 3, 1, 1, 1), [(2, 3)])
    assert torch.equal(found, torch.zeros(1, 3, 4))


def test_corners_and_weights_in_the_documented_order() -> None:
    row, weight = bilinear_corners(torch.tensor([[1.25 / 4, 1.0 / 3]], dtype=torch.float64), 3, 4)  # x 0.75, y 0.5 px
    assert row.tolist() == [[0, 1, 4, 5]]
    torch.testing.assert_close(weight, torch.tensor([[0.125, 0.375, 0.125, 0.375]], dtype=torch.float64))


@pytest.mark.parametrize("shapes", [[(2, 2)], [(2, 3), (1, 1)]])
def test_level_shapes_that_do_not_cover_the_value_are_refused(shapes: list[tuple[int, int]]) -> None:
    levels = len(shapes)
    with pytest.raises(ValueError, match=r"level_shapes cover \d rows, value has 6"):
        deformable_attention(
            torch.ones(1, 6, 1, 4), torch.zeros(1, 1, 1, levels, 1, 2), torch.ones(1, 1, 1, levels, 1), shapes
        )


def loops(value: Tensor, locations: Tensor, weights: Tensor, shapes: list[tuple[int, int]]) -> Tensor:
    batch, queries, heads, levels, points, _ = locations.shape
    total = torch.zeros(batch, queries, heads, value.shape[3], dtype=value.dtype)
    starts = [0, *itertools.accumulate(height * width for height, width in shapes)]
    for b, q, h, level, p in itertools.product(*map(range, (batch, queries, heads, levels, points))):
        height, width = shapes[level]
        x, y = locations[b, q, h, level, p].tolist()
        x, y = x * width - 0.5, y * height - 0.5
        for row, column in itertools.product(range(height), range(width)):
            share = max(0.0, 1 - abs(x - column)) * max(0.0, 1 - abs(y - row))
            if math.isfinite(x) and math.isfinite(y) and share:
                sample = value[b, starts[level] + row * width + column, h]
                total[b, q, h] += weights[b, q, h, level, p] * share * sample
    return total.flatten(2)


def with_grid_sample(value: Tensor, locations: Tensor, weights: Tensor, shapes: list[tuple[int, int]]) -> Tensor:
    batch, _, heads, channels = value.shape
    levels = value.split([height * width for height, width in shapes], dim=1)
    total = torch.zeros(batch, locations.shape[1], heads, channels, dtype=value.dtype)
    for level, ((height, width), rows) in enumerate(zip(shapes, levels, strict=True)):
        maps = rows.permute(0, 2, 3, 1).reshape(batch * heads, channels, height, width)
        grid = (2 * locations[:, :, :, level] - 1).transpose(1, 2).flatten(0, 1)
        samples = grid_sample(maps, grid, align_corners=False).unflatten(0, (batch, heads))
        total += torch.einsum("bhdqp,bqhp->bqhd", samples, weights[:, :, :, level])
    return total.flatten(2)
