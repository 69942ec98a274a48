"""Attention of three inputs against PyTorch's own, with and without keys that nobody may attend to."""

import pytest
import torch
from torch import nn

from hyperseg_export.modules.attention import CrossAttention, key_mask
from hyperseg_export.parity.compare import worst_error

DOUBLE = 1e-10
"""Float64 on both sides: only the order of sums differs."""

REAL = torch.tensor([[True, True, False, False, False], [True, False, True, True, True]])


def copied(theirs: nn.MultiheadAttention, heads: int) -> CrossAttention:
    """Ours with PyTorch's weights."""
    ours = CrossAttention(theirs.embed_dim, heads).double().requires_grad_(False)
    for name, weight, bias in zip(
        ("query", "key", "value"), theirs.in_proj_weight.chunk(3), theirs.in_proj_bias.chunk(3), strict=True
    ):
        getattr(ours, name).weight.copy_(weight.t())
        getattr(ours, name).bias.copy_(bias)
    ours.out.weight.copy_(theirs.out_proj.weight.t())
    ours.out.bias.copy_(theirs.out_proj.bias)
    return ours


@pytest.mark.parametrize("masked", [False, True])
def test_it_is_pytorchs(masked: bool) -> None:
    theirs = nn.MultiheadAttention(12, 3, batch_first=True).double().requires_grad_(False)
    theirs.in_proj_bias.normal_()
    theirs.out_proj.bias.normal_()
    query, key, value = (torch.randn(2, length, 12, dtype=torch.float64) for length in (7, 5, 5))

    found = copied(theirs, 3)(query, key, value, key_mask(REAL, 7) if masked else None)

    expected, _ = theirs(query, key, value, key_padding_mask=~REAL if masked else None)
    assert worst_error(found.numpy(), expected.numpy()) < DOUBLE


def test_a_key_mask_is_the_same_for_every_query() -> None:
    mask = key_mask(REAL, 3)
    assert mask.shape == (2, 1, 3, 5)
    assert all(torch.equal(mask[:, 0, query], REAL) for query in range(3))
