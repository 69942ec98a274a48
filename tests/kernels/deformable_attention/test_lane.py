"""The arithmetic of the GPU kernels, compiled for the host, against the float64 reference."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy
from torch import Tensor

from deformable_attention_host import TORCH_TYPES, HostKernels
from deformable_attention_support import PROJECTED, ROUNDED, Call, random_call
from hyperseg_kernels.cuda.source import ValueType
from hyperseg_kernels.deformable_attention import reference
from hyperseg_kernels.deformable_attention.cuda_source import Layer

CASES = 1000
HEAD_DIMENSIONS = (16, 20, 24, 32, 40, 48, 64, 128)
TYPES = pytest.mark.parametrize("value_type", list(ValueType))


@pytest.mark.slow
@TYPES
def test_random_cases(host_kernels: HostKernels, value_type: ValueType) -> None:
    """The worst of 1,000, with the sizes of real networks: any head dimension, levels up to 160 pixels wide."""
    draw = random.Random(0)
    worst = 0.0
    for case in range(CASES):
        shapes = [(draw.randint(1, 8), draw.randint(1, 160)) for _ in range(draw.randint(1, 4))]
        call = random_call(
            draw.randint(1, 2), draw.randint(1, 6), draw.randint(1, 2), draw.choice(HEAD_DIMENSIONS), 4, shapes, case
        )
        worst = max(worst, error(host_kernels, value_type, call))
    assert worst <= ROUNDED[value_type]


@TYPES
@settings(deadline=None, max_examples=60)
@given(st.data())
def test_strange_locations_and_odd_shapes(
    host_kernels: HostKernels, value_type: ValueType, calls: SearchStrategy[Call], data: DataObject
) -> None:
    """NaN, infinite and huge locations, pixel borders and centres, head dimensions that no wide load divides."""
    assert error(host_kernels, value_type, data.draw(calls)) <= ROUNDED[value_type]


def test_pixels_outside_are_never_read(host_kernels: HostKernels) -> None:
    value = torch.full((1, 12, 1, 8), torch.nan)
    locations = torch.tensor([[-1.0, 0.5], [0.5, 2.0], [torch.nan, 0.5], [0.5, torch.inf]]).reshape(1, 4, 1, 1, 1, 2)
    found = host_kernels.given(Layer(1, 8, 1, ((3, 4),)), value, locations, torch.ones(1, 4, 1, 1, 1))
    assert torch.equal(found, torch.zeros(1, 4, 8))


def test_a_coordinate_that_rounds_past_the_border_reads_nothing(host_kernels: HostKernels) -> None:
    """A little more than -1 pixel before the shift is added, a little less after: nobody has the pixel there."""
    layer = Layer(1, 8, 1, ((100, 100), (100, 100)))
    value = torch.zeros(1, 20_000, 1, 8)
    value[:, 9_900:10_000] = 1e6  # the last row of the level before
    references = torch.tensor([0.5, 0.630233169]).expand(1, 1, 1, 2)
    offsets = torch.tensor([[0.0, 1e6], [0.0, -63.5233192]]).reshape(1, 1, 1, 2, 1, 2)
    logits = torch.tensor([-1e4, 0.0]).reshape(1, 1, 1, 2, 1)
    assert not host_kernels.projected(layer, value, references, offsets, logits).any()


def test_rows_that_do_not_fit_a_word_are_not_shared() -> None:
    assert Layer(1, 8, 1, ((16384, 8193),)).sharers(ValueType.FLOAT32) == 1
    assert Layer(8, 32, 4, ((64, 64),)).sharers(ValueType.FLOAT32) == 8
    assert Layer(8, 24, 4, ((64, 64),)).sharers(ValueType.FLOAT32) == 1


def test_nan_and_infinity_in_the_map_reach_only_samples_that_touch_them(host_kernels: HostKernels) -> None:
    value = torch.ones(1, 12, 1, 8)
    value[:, 0], value[:, 11] = torch.nan, torch.inf  # first and last pixel of 3 x 4
    locations = torch.tensor([[0.2, 0.2], [0.5, 0.5], [0.9, 0.9]]).reshape(1, 3, 1, 1, 1, 2)
    found = host_kernels.given(Layer(1, 8, 1, ((3, 4),)), value, locations, torch.ones(1, 3, 1, 1, 1))
    expected = reference.deformable_attention(value, locations, torch.ones(1, 3, 1, 1, 1), [(3, 4)])
    torch.testing.assert_close(found, expected, equal_nan=True)
    assert found[0, 0].isnan().all() and found[0, 1].isfinite().all() and found[0, 2].isinf().all()


@TYPES
@pytest.mark.parametrize("reference_size", [2, 4])
@pytest.mark.parametrize(("images", "levels"), [(1, 1), (1, 3), (2, 1), (2, 3)])
def test_projected_form(
    host_kernels: HostKernels, value_type: ValueType, reference_size: int, images: int, levels: int
) -> None:
    """References of points and boxes, shared by images and levels or not."""
    shapes = [(5, 7), (1, 1), (33, 128)]
    value, locations, logits, _ = random_call(2, 9, 3, 24, 4, shapes)
    generator = torch.Generator().manual_seed(1)
    references = torch.rand(images, 9, levels, reference_size, generator=generator)
    offsets = 8 * locations - 4
    assert (
        projected_error(host_kernels, value_type, value, references, offsets, 6 * logits, shapes)
        <= PROJECTED[value_type]
    )


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_projected_form_with_strange_offsets(
    host_kernels: HostKernels, calls: SearchStrategy[Call], data: DataObject
) -> None:
    value, offsets, logits, shapes = data.draw(calls)
    references = torch.rand(1, offsets.shape[1], 1, 2, generator=torch.Generator().manual_seed(len(shapes)))
    found = projected_error(host_kernels, ValueType.FLOAT32, value, references, offsets, 100 * logits, shapes)
    assert found <= PROJECTED[ValueType.FLOAT32]


def test_softmax_of_logits_that_are_no_numbers_is_none(host_kernels: HostKernels) -> None:
    layer = Layer(1, 8, 2, ((3, 4),))
    logits = torch.tensor([[torch.nan, 0.0], [torch.inf, 0.0], [-torch.inf, -torch.inf], [-torch.inf, 0.0]])
    found = host_kernels.projected(
        layer,
        torch.ones(1, 12, 1, 8),
        torch.full((1, 4, 1, 2), 0.5),
        torch.zeros(1, 4, 1, 1, 2, 2),
        logits.reshape(1, 4, 1, 1, 2),
    )
    assert found[0, :3].isnan().all() and (found[0, 3] == 1).all()


def test_every_run_gives_the_same_bits(host_kernels: HostKernels) -> None:
    value, locations, weights, shapes = random_call(2, 50, 4, 32, 4, [(8, 8), (16, 16)])
    layer = Layer(4, 32, 4, tuple(shapes))
    first, second = (host_kernels.given(layer, value, locations, weights) for _ in range(2))
    assert torch.equal(first, second)


def error(kernels: HostKernels, value_type: ValueType, call: Call) -> float:
    value, locations, weights, shapes = call
    value = value.to(TORCH_TYPES[value_type])
    layer = Layer(value.shape[2], value.shape[3], weights.shape[4], tuple(shapes))
    found = kernels.given(layer, value, locations, weights)
    expected = reference.deformable_attention(value.double(), locations.double(), weights.double(), shapes)
    scale = weights.double().abs().sum((3, 4)).repeat_interleave(layer.channels, 2) * value.double().abs().max()
    return relative(found, expected, scale)


def projected_error(
    kernels: HostKernels,
    value_type: ValueType,
    value: Tensor,
    references: Tensor,
    offsets: Tensor,
    logits: Tensor,
    shapes: list[tuple[int, int]],
) -> float:
    value, offsets, logits = (tensor.to(TORCH_TYPES[value_type]) for tensor in (value, offsets, logits))
    layer = Layer(value.shape[2], value.shape[3], logits.shape[4], tuple(shapes))
    found = kernels.projected(layer, value, references, offsets, logits)
    inputs = (tensor.double() for tensor in (value, references, offsets, logits))
    expected = reference.projected_attention(*inputs, shapes)
    return relative(found, expected, value.double().abs().max().expand_as(expected))


def relative(found: Tensor, expected: Tensor, scale: Tensor) -> float:
    assert found.shape == expected.shape and found.isfinite().all()
    return float(((found.double() - expected).abs() / scale.clamp_min(1e-30)).max())
