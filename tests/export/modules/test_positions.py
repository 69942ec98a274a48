"""Position tables against their formulas in plain Python and against transformers'."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.mask2former.modeling_mask2former import Mask2FormerSinePositionEmbedding

from hyperseg_export.modules.positions import PIXEL_CENTRE, rotary_tables, sequence_positions, sine_positions

SINE = 1e-5
"""Float32 angles up to 2 pi carry an error of 5e-7, the sine of one no more."""

ROTARY_STEP = 2e-7
"""Float32 angle p / theta^k carries a relative error of about 1e-7, so its cosine an absolute one of p times that."""


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 6), st.data())
def test_sine_table_is_the_formula(height: int, width: int, quarters: int, data: st.DataObject) -> None:
    """Spec 6.6, one channel of one token at a time."""
    channels = 4 * quarters
    table = sine_positions(height, width, channels)
    row = data.draw(st.integers(0, height - 1))
    column = data.draw(st.integers(0, width - 1))
    channel = data.draw(st.integers(0, channels - 1))
    half = channels // 2
    place, extent = (row, height) if channel < half else (column, width)
    k = channel % half
    angle = (place + 1) / (extent + 1e-6) * 2 * math.pi / 10000 ** (2 * (k // 2) / half)
    expected = math.cos(angle) if k % 2 else math.sin(angle)
    assert table.shape == (height * width, channels)
    assert table[row * width + column, channel].item() == pytest.approx(expected, abs=SINE)


@pytest.mark.parametrize(("height", "width", "channels"), [(1, 1, 4), (3, 5, 64), (17, 4, 256)])
def test_sine_table_is_transformers(height: int, width: int, channels: int) -> None:
    theirs = Mask2FormerSinePositionEmbedding(channels // 2, normalize=True)
    expected = theirs(torch.Size((1, channels, height, width)), "cpu", torch.float64)[0].flatten(1).t()
    assert (sine_positions(height, width, channels) - expected).abs().max().item() < SINE


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 6), st.data())
def test_a_centred_table_counts_from_the_middle_of_a_row(
    height: int, width: int, quarters: int, data: st.DataObject
) -> None:
    """unilseg-spec 7: r - 0.5 for r = 1, 2, ..., where the plain table has r."""
    channels = 4 * quarters
    row, column = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    channel = data.draw(st.integers(0, channels - 1))
    half = channels // 2
    place, extent = (row, height) if channel < half else (column, width)
    k = channel % half
    angle = (place + 0.5) / (extent + 1e-6) * 2 * math.pi / 10000 ** (2 * (k // 2) / half)
    expected = math.cos(angle) if k % 2 else math.sin(angle)
    table = sine_positions(height, width, channels, PIXEL_CENTRE)
    assert table[row * width + column, channel].item() == pytest.approx(expected, abs=SINE)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 30), st.integers(1, 12), st.data())
def test_a_sequence_table_is_the_formula(length: int, pairs: int, data: st.DataObject) -> None:
    """unilseg-spec 7: all channels for the one axis, no offset."""
    channels = 2 * pairs
    place, k = data.draw(st.integers(0, length - 1)), data.draw(st.integers(0, channels - 1))
    angle = (place + 1) / (length + 1e-6) * 2 * math.pi / 10000 ** (2 * (k // 2) / channels)
    table = sequence_positions(length, channels)
    assert table.shape == (length, channels)
    assert table[place, k].item() == pytest.approx(math.cos(angle) if k % 2 else math.sin(angle), abs=SINE)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 400), st.integers(1, 20), st.floats(2, 1e6), st.data())
def test_rotary_table_is_the_formula(positions: int, pairs: int, theta: float, data: st.DataObject) -> None:
    cos, sin = rotary_tables(positions, 2 * pairs, theta)
    position = data.draw(st.integers(0, positions - 1))
    pair = data.draw(st.integers(0, pairs - 1))
    angle = position / theta ** (2 * pair / (2 * pairs))
    tolerance = ROTARY_STEP * max(1, position)
    assert cos.shape == sin.shape == (positions, pairs)
    assert cos[position, pair].item() == pytest.approx(math.cos(angle), abs=tolerance)
    assert sin[position, pair].item() == pytest.approx(math.sin(angle), abs=tolerance)
