"""Swin against transformers' backbone, and its tables against slow ones.

transformers' backbone always shifts, also where one window covers the whole map; so does the original.
"""

from collections.abc import Callable

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hyperseg_export.modules.swin import (
    SwinConfig,
    SwinTransformer,
    WindowGrid,
    expand_relative_bias,
    relative_position_index,
)
from hyperseg_export.parity.compare import worst_error

DOUBLE = 1e-10
"""Float64 on both sides: only the order of sums differs."""

CASES = {
    "the published shape in small": (SwinConfig(8, (2, 2, 2), (1, 2, 4), 3, 4, 4), (96, 96)),
    "every size odd": (SwinConfig(6, (2, 3), (2, 3), 5, 4, 3), (90, 123)),
    "one window larger than the map": (SwinConfig(4, (2, 2), (2, 1), 7, 4, 4), (20, 16)),
    "no padding anywhere": (SwinConfig(4, (2, 2), (1, 2), 2, 2, 2), (16, 32)),
    "partial patches": (SwinConfig(4, (4,), (4,), 4, 5, 4), (33, 61)),
    "a wide and flat image": (SwinConfig(4, (2, 2, 2), (1, 1, 2), 3, 4, 4), (5, 77)),
}


@pytest.mark.parametrize("case", CASES)
def test_maps_are_transformers(case: str, randomise: Callable[..., nn.Module], load: Callable[..., nn.Module]) -> None:
    config, image_hw = CASES[case]
    theirs = randomise(transformers.SwinBackbone(their_config(config)))
    ours = load(SwinTransformer(config, image_hw), our_weights(theirs, config))
    images = torch.randn(2, 3, *image_hw, dtype=torch.float64)

    maps, expected = ours(images), theirs(images).feature_maps

    assert [tuple(x.shape[1:]) for x in maps] == [
        (channels, *shape) for channels, shape in zip(config.channels, config.map_shapes(image_hw), strict=True)
    ]
    for x, y in zip(maps, expected, strict=True):
        assert worst_error(x.numpy(), y.numpy()) < DOUBLE


def test_other_regions_are_damped_by_a_hundred_not_removed(
    randomise: Callable[..., nn.Module], load: Callable[..., nn.Module]
) -> None:
    """Shows only where attention logits themselves differ by about a hundred."""
    config, image_hw = CASES["the published shape in small"]
    theirs = randomise(transformers.SwinBackbone(their_config(config)))
    for name, parameter in theirs.named_parameters():
        if name.endswith("relative_position_bias_table"):
            parameter.mul_(100)
    ours = load(SwinTransformer(config, image_hw), our_weights(theirs, config))
    images = torch.randn(1, 3, *image_hw, dtype=torch.float64)
    for x, y in zip(ours(images), theirs(images).feature_maps, strict=True):
        assert worst_error(x.numpy(), y.numpy()) < DOUBLE


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 7))
def test_relative_position_index_counts_query_minus_key(window: int) -> None:
    """Spec 6.3: row (dy + w - 1) * (2 w - 1) + dx + w - 1."""
    index = relative_position_index(window)
    for query in range(window**2):
        for key in range(window**2):
            dy, dx = query // window - key // window, query % window - key % window
            assert index[query, key] == (dy + window - 1) * (2 * window - 1) + dx + window - 1


def test_relative_bias_is_the_table_row_of_every_pair() -> None:
    table = torch.randn(25, 4)
    bias = expand_relative_bias(table, 3)
    index = relative_position_index(3)
    assert bias.shape == (4, 9, 9)
    assert all(torch.equal(bias[:, q, k], table[index[q, k]]) for q in range(9) for k in range(9))


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5))
def test_windows_are_cut_in_reading_order_and_joined_again(height: int, width: int, size: int) -> None:
    grid = WindowGrid((height, width), size)
    rows, columns = grid.padded_hw
    x = torch.arange(2 * rows * columns).reshape(2, rows, columns, 1)
    windows = grid.split(x)
    assert torch.equal(grid.join(windows), x)
    expected = [
        x[1, top : top + size, left : left + size].flatten()
        for top in range(0, rows, size)
        for left in range(0, columns, size)
    ]
    assert torch.equal(windows[1, :, :, 0], torch.stack(expected))


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(2, 5))
def test_regions_are_nine_painted_rectangles(height: int, width: int, size: int) -> None:
    """The original paints slices [0, -w), [-w, -w // 2), [-w // 2, end) of both axes with 0 to 8."""
    grid = WindowGrid((height, width), size)
    rows, columns = grid.padded_hw
    painted = torch.full((rows, columns), -1)
    bands = (slice(0, -size), slice(-size, -(size // 2)), slice(-(size // 2), None))
    for label, (band_y, band_x) in enumerate((y, x) for y in bands for x in bands):
        painted[band_y, band_x] = label
    assert torch.equal(grid.regions(), grid.split(painted[None, :, :, None])[0, :, :, 0].int())


@pytest.mark.parametrize(
    ("image_hw", "shapes"),
    [
        ((1024, 1024), ((256, 256), (128, 128), (64, 64), (32, 32))),
        ((90, 123), ((23, 31), (12, 16), (6, 8), (3, 4))),
        ((1, 4), ((1, 1), (1, 1), (1, 1), (1, 1))),
    ],
)
def test_map_shapes_round_up(image_hw: tuple[int, int], shapes: tuple[tuple[int, int], ...]) -> None:
    config = SwinConfig(128, (2, 2, 18, 2), (4, 8, 16, 32), 12, 4, 4)
    assert config.map_shapes(image_hw) == shapes
    assert config.channels == (128, 256, 512, 1024)


def their_config(config: SwinConfig) -> transformers.SwinConfig:
    return transformers.SwinConfig(
        patch_size=config.patch_px,
        embed_dim=config.width,
        depths=list(config.depths),
        num_heads=list(config.heads),
        window_size=config.window,
        mlp_ratio=config.mlp_ratio,
        layer_norm_eps=config.norm_eps,
        drop_path_rate=0.0,
        out_features=[f"stage{stage}" for stage in range(1, len(config.depths) + 1)],
    )


def our_weights(theirs: nn.Module, config: SwinConfig) -> dict[str, Tensor]:
    stored = theirs.state_dict()
    weights = {}
    for p in ("weight", "bias"):
        weights[f"patch_embed.{p}"] = stored[f"swin.embeddings.patch_embeddings.projection.{p}"]
        weights[f"patch_norm.{p}"] = stored[f"swin.embeddings.norm.{p}"]
        for stage, depth in enumerate(config.depths):
            ours, layer = f"stages.{stage}", f"swin.encoder.layers.{stage}"
            weights[f"{ours}.norm.{p}"] = stored[f"hidden_states_norms.stage{stage + 1}.{p}"]
            if stage < len(config.depths) - 1:
                weights[f"{ours}.merge.norm.{p}"] = stored[f"{layer}.downsample.norm.{p}"]
                weights[f"{ours}.merge.reduction.weight"] = stored[f"{layer}.downsample.reduction.weight"]
            for index in range(depth):
                block, attention = f"{ours}.blocks.{index}", f"{layer}.blocks.{index}.attention"
                table = stored[f"{attention}.relative_position_bias.relative_position_bias_table"]
                qkv = [stored[f"{attention}.{letter}_proj.{p}"] for letter in "qkv"]
                weights[f"{block}.attention.relative_bias"] = expand_relative_bias(table, config.window)
                weights[f"{block}.attention.qkv.{p}"] = torch.cat(qkv)
                weights[f"{block}.attention.out.{p}"] = stored[f"{attention}.o_proj.{p}"]
                weights[f"{block}.norm1.{p}"] = stored[f"{layer}.blocks.{index}.layernorm_before.{p}"]
                weights[f"{block}.norm2.{p}"] = stored[f"{layer}.blocks.{index}.layernorm_after.{p}"]
                weights[f"{block}.mlp.layers.0.{p}"] = stored[f"{layer}.blocks.{index}.mlp.fc1.{p}"]
                weights[f"{block}.mlp.layers.1.{p}"] = stored[f"{layer}.blocks.{index}.mlp.fc2.{p}"]
    return weights
