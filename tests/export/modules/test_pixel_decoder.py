"""The pixel decoder against Mask2Former's in transformers, its attention also against a loop over samples."""

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import Mask2FormerPixelDecoder

from hyperseg_export.modules.pixel_decoder import (
    DeformableSelfAttention,
    MapShape,
    PixelDecoder,
    PixelDecoderConfig,
    token_centres,
)
from hyperseg_export.parity.compare import worst_error

TABLES = 1e-5
"""Float64 on both sides except for our position and reference tables, which are float32."""

CONFIG = PixelDecoderConfig(
    width=64, heads=8, points=4, layers=2, mlp_width=48, map_channels=(9, 7, 5), fine_channels=3
)
SHAPES = {
    "powers of two": ((2, 2), (4, 4), (8, 8), (16, 16)),
    "odd and not square": ((3, 5), (5, 9), (9, 17), (17, 33)),
    "one row": ((1, 1), (1, 2), (1, 3), (2, 7)),
}


@pytest.mark.parametrize("case", SHAPES)
def test_maps_are_mask2formers(case: str, randomise: Callable[..., nn.Module], load: Callable[..., nn.Module]) -> None:
    *shapes, finest_shape = SHAPES[case]
    theirs = randomise(their_decoder(CONFIG))
    ours = load(PixelDecoder(CONFIG, shapes), our_weights(theirs))
    maps = [random_map(c, shape) for c, shape in zip(CONFIG.map_channels, shapes, strict=True)]
    finest = random_map(CONFIG.fine_channels, finest_shape)

    mask_features, encoded = ours(maps, finest)

    expected = theirs([finest, *reversed(maps)], output_attentions=False, output_hidden_states=False)
    assert worst_error(mask_features.numpy(), expected.mask_features.numpy()) < TABLES
    assert [tuple(x.shape) for x in encoded] == [(2, CONFIG.width, *shape) for shape in shapes]
    for x, y in zip(encoded, expected.multi_scale_features, strict=True):
        assert worst_error(x.numpy(), y.numpy()) < TABLES


def test_deformable_attention_is_a_sum_of_bilinear_samples(randomise: Callable[..., nn.Module]) -> None:
    """Spec 6.6 with other numbers of heads, levels and points than Mask2Former's."""
    config = PixelDecoderConfig(6, 2, 3, 1, 1, (1, 1), 1)
    shapes = ((2, 3), (4, 5))
    ours = randomise(DeformableSelfAttention(config, shapes))
    tokens = sum(height * width for height, width in shapes)
    x, positions = torch.randn(1, tokens, 6, dtype=torch.float64), torch.randn(tokens, 6, dtype=torch.float64)

    found = ours(x, positions)

    query, value = x[0] + positions, ours.value(x)[0].unflatten(-1, (2, 3))
    offsets = ours.offsets(query).view(tokens, 2, 2, 3, 2)
    weights = ours.weights(query).view(tokens, 2, 6).softmax(-1).view(tokens, 2, 2, 3)
    expected = torch.zeros(tokens, 2, 3, dtype=torch.float64)
    for token, (x_own, y_own) in enumerate(centres(shapes)):
        for head in range(2):
            start = 0
            for level, (height, width) in enumerate(shapes):
                rows = value[start : start + height * width, head].view(height, width, 3)
                start += height * width
                for point in range(3):
                    dx, dy = offsets[token, head, level, point].tolist()
                    sample = bilinear(rows, x_own * width + dx - 0.5, y_own * height + dy - 0.5)
                    expected[token, head] += weights[token, head, level, point] * sample
    assert worst_error(found.numpy(), ours.out(expected.flatten(1))[None].numpy()) < TABLES


def test_token_centres_are_x_then_y_of_every_level() -> None:
    found = token_centres(((2, 3), (1, 4)))
    assert torch.allclose(found, torch.tensor(centres(((2, 3), (1, 4)))))


def centres(shapes: Sequence[MapShape]) -> list[tuple[float, float]]:
    return [
        ((column + 0.5) / width, (row + 0.5) / height)
        for height, width in shapes
        for row in range(height)
        for column in range(width)
    ]


def bilinear(rows: Tensor, x: float, y: float) -> Tensor:
    """Sample of a (h, w, d) map at pixel coordinates, zeros outside."""
    height, width, depth = rows.shape
    total = torch.zeros(depth, dtype=rows.dtype)
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < height and 0 <= column < width:
                total += (1 - abs(y - row)) * (1 - abs(x - column)) * rows[row, column]
    return total


def random_map(channels: int, shape: MapShape) -> Tensor:
    return torch.randn(2, channels, *shape, dtype=torch.float64)


def their_decoder(config: PixelDecoderConfig) -> Mask2FormerPixelDecoder:
    """With HyperSeg's two differences: convolutions have biases, and the fine map passes a ReLU."""
    settings = Mask2FormerConfig(
        feature_size=config.width,
        mask_feature_size=config.width,
        encoder_feedforward_dim=config.mlp_width,
        encoder_layers=config.layers,
        num_attention_heads=config.heads,
        dropout=0.0,
    )
    decoder = Mask2FormerPixelDecoder(settings, [config.fine_channels, *reversed(config.map_channels)])
    width, groups = config.width, config.norm_groups
    adapter = nn.Sequential(nn.Conv2d(config.fine_channels, width, 1), nn.GroupNorm(groups, width), nn.ReLU())
    layer = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(groups, width), nn.ReLU())
    decoder.adapter_1, decoder.layer_1 = adapter, layer
    decoder.lateral_convolutions, decoder.output_convolutions = [adapter], [layer]
    return decoder


def our_weights(theirs: nn.Module) -> dict[str, Tensor]:
    renamed = {
        "input_projections": "input_proj",
        "encoder.layers": "layers",
        "self_attn.sampling_offsets": "attention.offsets",
        "self_attn.attention_weights": "attention.weights",
        "self_attn.value_proj": "attention.value",
        "self_attn.output_proj": "attention.out",
        "self_attn_layer_norm": "norm1",
        "final_layer_norm": "norm2",
        "fc1": "mlp.layers.0",
        "fc2": "mlp.layers.1",
        "mask_projection": "mask_features",
        "adapter_1.0": "fine_proj.conv",
        "adapter_1.1": "fine_proj.norm",
        "layer_1.0": "fine_conv.conv",
        "layer_1.1": "fine_conv.norm",
        **{f"input_proj.{level}.0": f"input_proj.{level}.conv" for level in range(3)},
        **{f"input_proj.{level}.1": f"input_proj.{level}.norm" for level in range(3)},
    }
    weights = {}
    for name, value in theirs.state_dict().items():
        for old, new in renamed.items():
            name = name.replace(old, new)
        weights[name] = value
    return weights
