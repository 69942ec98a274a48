"""Small numbers spread out into what they say of many rows."""

import numpy as np
import torch

from hyperseg_export.modules.reading import PickedRows, SlotMask, SpanMeans

MEAN = 1e-6
"""Sums of four normal numbers, times a rounded reciprocal."""


def test_a_row_sees_the_slots_of_its_two_ranges() -> None:
    attended = torch.tensor([[[[0, 2], [4, 6]], [[0, 1], [0, 0]], [[0, 0], [3, 9]]]])
    mask = SlotMask()(attended, torch.arange(7))
    assert mask.shape == (1, 1, 3, 7)
    assert [np.flatnonzero(row).tolist() for row in mask[0, 0].numpy()] == [[0, 1, 4, 5], [0], [3, 4, 5, 6]]


def test_rows_are_picked_as_they_are() -> None:
    rows = torch.randn(2, 5, 3)
    rows[0, 4] = torch.nan  # of no concern to whoever picks others
    picked = PickedRows()(torch.tensor([[3, 0], [4, 4]]), rows)
    assert torch.equal(picked, torch.stack((rows[0, [3, 0]], rows[1, [4, 4]])))


def test_spans_are_averaged() -> None:
    rows = torch.randn(2, 6, 3)
    means = SpanMeans()(torch.tensor([[[0, 4], [5, 6]], [[1, 3], [2, 3]]]), rows)
    wanted = [[rows[0, 0:4].mean(0), rows[0, 5]], [rows[1, 1:3].mean(0), rows[1, 2]]]
    torch.testing.assert_close(means, torch.stack([torch.stack(pair) for pair in wanted]), rtol=0, atol=MEAN)
