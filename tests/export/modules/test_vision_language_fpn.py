"""The pyramid against a slow one made of PyTorch's own attention, step for step as unilseg-spec 8 and 9 say."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from hyperseg_export.modules.attention import CrossAttention
from hyperseg_export.modules.positions import PIXEL_CENTRE, sequence_positions, sine_positions
from hyperseg_export.modules.vision_language_fpn import (
    Shrink,
    VisionLanguageBlock,
    VisionLanguageFpn,
    VisionLanguageFpnConfig,
    mean_of_central_samples,
)
from hyperseg_export.modules.word_fusion import WordFusion
from hyperseg_export.parity.compare import worst_error

DOUBLE = 1e-10
TABLE = 1e-6
"""Float64 modules whose position tables are float32."""

WIDTH, WORDS, HEADS = 16, 5, 4
CONFIG = VisionLanguageFpnConfig(WIDTH, HEADS, mlp_width=20, mask_width=6, map_channels=(12, 10, 8), words=WORDS)
SHAPES = ((2, 3), (4, 6), (8, 12))
REAL = torch.tensor([[True, True, True, False, False], [True, True, False, False, False]])


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5), st.integers(1, 5), st.sampled_from([2, 4, 6, 8]))
def test_the_mean_of_central_samples_is_bilinear_sampling(height: int, width: int, factor: int) -> None:
    x = torch.randn(2, 3, height * factor, width * factor, dtype=torch.float64)
    expected = interpolate(x, (height, width), mode="bilinear", align_corners=False, antialias=False)
    found = mean_of_central_samples(x, factor, (2, 3))
    assert worst_error(found.numpy(), expected.numpy()) < DOUBLE


@pytest.mark.parametrize(("shape", "factor"), [((4, 6), 4), ((6, 4), 4), ((9, 9), 3)])
def test_sizes_that_do_not_come_out_even_are_refused(shape: tuple[int, int], factor: int) -> None:
    with pytest.raises(ValueError, match="cannot be made smaller by"):
        Shrink(shape, factor)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_a_block_is_the_slow_one(factor: int, randomised: None) -> None:
    shape = SHAPES[-1]
    block = filled(VisionLanguageBlock(CONFIG, shape, factor))
    x = torch.randn(2, shape[0] * shape[1], WIDTH, dtype=torch.float64)
    words = torch.randn(2, WORDS, WIDTH, dtype=torch.float64)
    expected = slow_block(block, x, words, shape, factor)
    assert worst_error(block(x, words, REAL).numpy(), expected.numpy()) < TABLE


def test_the_pyramid_adds_from_coarse_to_fine(randomised: None) -> None:
    fpn = filled(VisionLanguageFpn(CONFIG, SHAPES))
    maps = [
        torch.randn(2, channels, *shape, dtype=torch.float64)
        for channels, shape in zip(CONFIG.map_channels, SHAPES, strict=True)
    ]
    words = torch.randn(2, WORDS, WIDTH, dtype=torch.float64)
    y: Tensor | None = None
    for index, (level, x, shape) in enumerate(zip(fpn.levels, maps, SHAPES, strict=True)):
        lateral = relu(level.lateral.conv(x)).flatten(2).transpose(1, 2)
        z = slow_block(level.block, lateral, words, shape, 1 << index).transpose(1, 2).unflatten(2, shape)
        if y is not None:
            z = z + interpolate(y, shape, mode="bilinear", align_corners=False)
        y = relu(level.out.conv(z))
    assert y is not None
    expected = relu(fpn.mask_features.conv(y))
    found = fpn(maps, words, REAL)
    assert found.shape == (2, 6, *SHAPES[-1])
    assert (found >= 0).all()
    assert worst_error(found.numpy(), expected.numpy()) < TABLE


def test_fusion_adds_what_places_find_in_words(randomised: None) -> None:
    shape = SHAPES[1]
    fusion = filled(WordFusion(WIDTH, 7, HEADS, shape))
    x, words = torch.randn(2, WIDTH, *shape, dtype=torch.float64), torch.randn(2, WORDS, 7, dtype=torch.float64)
    places = x.flatten(2).transpose(1, 2)
    projected = words @ fusion.project.weight + fusion.project.bias
    sine = sine_positions(*shape, WIDTH, PIXEL_CENTRE).double()
    found = torchs(fusion.attention)(places + sine, projected, projected, key_padding_mask=~REAL)[0]
    expected = (places + found).transpose(1, 2).unflatten(2, shape)
    assert worst_error(fusion(x, words, REAL).numpy(), expected.numpy()) < TABLE


def slow_block(block: nn.Module, x: Tensor, words: Tensor, shape: tuple[int, int], factor: int) -> Tensor:
    """With words as queries too, with interpolation both ways, as the original computes it."""
    small = (shape[0] // factor, shape[1] // factor)

    def resized(tokens: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
        as_map = tokens.transpose(1, 2).unflatten(2, old)
        return interpolate(as_map, new, mode="bilinear", align_corners=False).flatten(2).transpose(1, 2)

    sine = sine_positions(*shape, WIDTH, PIXEL_CENTRE).double()
    joined = torch.cat((resized(x + sine, shape, small), words), 1)
    value = torch.cat((resized(x, shape, small), words), 1)
    places = joined.shape[1] - WORDS
    padding = torch.cat((torch.zeros(2, places, dtype=torch.bool), ~REAL), 1)
    found = torchs(block.self_attention)(joined, joined, value, key_padding_mask=padding)[0][:, :places]
    x = block.norm1(x + resized(found, small, shape))
    placed = words + sequence_positions(WORDS, WIDTH).double()
    x = block.norm2(x + torchs(block.cross_attention)(x + sine, placed, words, key_padding_mask=~REAL)[0])
    first, second = block.mlp.layers
    hidden = relu(x @ first.weight + first.bias)
    return block.norm3(x + hidden @ second.weight + second.bias)


def torchs(ours: CrossAttention) -> nn.MultiheadAttention:
    """PyTorch's attention with our weights."""
    width = ours.out.weight.shape[0]
    theirs = nn.MultiheadAttention(width, ours.heads, batch_first=True).double().requires_grad_(False)
    parts = (ours.query, ours.key, ours.value)
    theirs.in_proj_weight.copy_(torch.cat([part.weight.t() for part in parts]))
    theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    theirs.out_proj.weight.copy_(ours.out.weight.t())
    theirs.out_proj.bias.copy_(ours.out.bias)
    return theirs


@pytest.fixture
def randomised() -> None:
    torch.manual_seed(1)


def filled(module: nn.Module) -> nn.Module:
    """Float64 parameters, none of them zero or one."""
    module.double().eval().requires_grad_(False)
    for name, parameter in module.named_parameters():
        gain = 1.0 if parameter.dim() == 1 and name.endswith("weight") else 0.0
        parameter.copy_(gain + 0.3 * torch.randn_like(parameter))
    return module
