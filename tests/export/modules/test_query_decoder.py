"""The decoder of one query against PyTorch's attention, and where its mask's pixels come from."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import relu

from hyperseg_export.modules.positions import PIXEL_CENTRE, sine_positions
from hyperseg_export.modules.query_decoder import (
    MaskProbabilities,
    OneQuerySelfAttention,
    QueryDecoder,
    QueryDecoderConfig,
)
from hyperseg_export.parity.compare import worst_error

DOUBLE = 1e-10
TABLE = 1e-6
"""Float64 modules whose position tables are float32."""

CONFIG = QueryDecoderConfig(width=16, heads=4, layers=3, mlp_width=20, map_channels=6, state_width=7)
SHAPE = (3, 5)


def test_self_attention_of_one_query_is_pytorchs() -> None:
    """Whatever queries and keys are, softmax over one key is 1 (unilseg-spec 10)."""
    theirs = nn.MultiheadAttention(16, 4, batch_first=True).double().requires_grad_(False)
    theirs.in_proj_bias.normal_()
    ours = OneQuerySelfAttention(16).double().requires_grad_(False)
    ours.value.weight.copy_(theirs.in_proj_weight[32:].t())
    ours.value.bias.copy_(theirs.in_proj_bias[32:])
    ours.out.weight.copy_(theirs.out_proj.weight.t())
    ours.out.bias.copy_(theirs.out_proj.bias)
    x, position = torch.randn(2, 3, 1, 16, dtype=torch.float64)
    expected, _ = theirs(x + position, x + position, x)
    assert worst_error(ours(x).numpy(), expected.numpy()) < DOUBLE


def test_the_query_starts_at_zero_and_is_placed_by_the_sentence(randomise: Callable[..., nn.Module]) -> None:
    decoder = randomise(QueryDecoder(CONFIG, SHAPE))
    x, state = torch.randn(2, 6, *SHAPE, dtype=torch.float64), torch.randn(2, 7, dtype=torch.float64)

    memory = relu(decoder.memory.conv(x)).flatten(2).transpose(1, 2)
    key = memory + sine_positions(*SHAPE, 16, PIXEL_CENTRE).double()
    position = relu(state @ decoder.position.weight + decoder.position.bias)[:, None]
    query = torch.zeros(2, 1, 16, dtype=torch.float64)
    for layer in decoder.layers:
        query = layer.norm1(query + layer.self_attention(query))
        query = layer.norm2(query + attended(layer.cross_attention, query + position, key, memory))
        query = layer.norm3(query + layer.mlp(query))

    assert worst_error(decoder(x, state).numpy(), decoder.norm(query).numpy()) < TABLE


def attended(attention: nn.Module, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention written out head by head."""
    q, k, v = attention.query(query), attention.key(key), attention.value(value)
    heads = []
    for q_h, k_h, v_h in zip(*(x.chunk(attention.heads, -1) for x in (q, k, v)), strict=True):
        weights = (q_h @ k_h.transpose(1, 2) / q_h.shape[-1] ** 0.5).softmax(-1)
        heads.append(weights @ v_h)
    return attention.out(torch.cat(heads, -1))


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 6), st.integers(2, 6), st.integers(7, 30))
def test_corners_of_probabilities_are_corners_of_logits(height: int, width: int, side: int) -> None:
    """unilseg-spec 11: output i samples i * (extent - 1) / (side - 1)."""
    logits = torch.randn(2, 1, height, width, dtype=torch.float64)
    found = MaskProbabilities(side)(logits)
    assert found.shape == (2, side, side)
    rows = torch.arange(side) * (height - 1) / (side - 1)
    columns = torch.arange(side) * (width - 1) / (side - 1)
    for i, j in ((0, 0), (0, side - 1), (side - 1, 0), (side // 2, side // 3), (side - 2, 1)):
        y, x = float(rows[i]), float(columns[j])
        top, left = min(int(y), height - 2), min(int(x), width - 2)
        square = logits[1, 0, top : top + 2, left : left + 2]
        mixed = (1 - (y - top)) * square[0] + (y - top) * square[1]
        expected = torch.sigmoid((1 - (x - left)) * mixed[0] + (x - left) * mixed[1])
        assert found[1, i, j].item() == pytest.approx(expected.item(), abs=1e-6)
