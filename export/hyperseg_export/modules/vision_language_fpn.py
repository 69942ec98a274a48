"""Feature pyramid whose every level reads a sentence on the way down (unilseg-spec 9), for fixed map sizes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from hyperseg_export.modules.attention import CrossAttention, key_mask
from hyperseg_export.modules.constants import ConstantModule
from hyperseg_export.modules.convolution import ConvRelu, to_map, to_tokens
from hyperseg_export.modules.linear import Mlp
from hyperseg_export.modules.norms import LayerNorm
from hyperseg_export.modules.positions import PIXEL_CENTRE, sequence_positions, sine_positions

MapShape = tuple[int, int]  # (height, width)


@dataclass(frozen=True)
class VisionLanguageFpnConfig:
    width: int  # of maps inside, and of word states
    heads: int
    mlp_width: int
    mask_width: int
    map_channels: tuple[int, ...]  # coarsest first
    words: int
    norm_eps: float = 1e-5


def mean_of_central_samples(x: Tensor, factor: int, axes: tuple[int, int]) -> Tensor:
    """Maps made smaller by an even `factor` along two axes whose sizes it divides.

    Bilinear sampling without antialiasing and with pixel centres aligned falls midway between the two central
    samples of every `factor`: their mean is the same number with no weights to multiply.
    """
    for axis in axes:
        centre = x.unflatten(axis, (-1, factor)).narrow(axis + 1, factor // 2 - 1, 2)
        x = centre.mean(axis + 1)
    return x


class Shrink(nn.Module):
    """Tokens (B, h * w, C) of a map of `shape_hw` -> tokens of the map made smaller by `factor`."""

    def __init__(self, shape_hw: MapShape, factor: int) -> None:
        super().__init__()
        if factor != 1 and (factor % 2 or shape_hw[0] % factor or shape_hw[1] % factor):
            raise ValueError(f"a map of {shape_hw} cannot be made smaller by {factor}")
        self.shape_hw, self.factor = shape_hw, factor

    def forward(self, x: Tensor) -> Tensor:
        if self.factor == 1:
            return x
        return mean_of_central_samples(x.unflatten(1, self.shape_hw), self.factor, (1, 2)).flatten(1, 2)


class Enlarge(nn.Module):
    """The way back, bilinear: tokens of the smaller map -> tokens (B, h * w, C)."""

    def __init__(self, shape_hw: MapShape, factor: int) -> None:
        super().__init__()
        self.shape_hw, self.factor = shape_hw, factor

    def forward(self, x: Tensor) -> Tensor:
        if self.factor == 1:
            return x
        height, width = self.shape_hw
        small = to_map(x, (height // self.factor, width // self.factor))
        return to_tokens(interpolate(small, self.shape_hw, mode="bilinear", align_corners=False))


class VisionLanguageBlock(ConstantModule):
    """Post-norm transformer layer on a map's tokens: pixels with pixels and words, pixels with words, MLP.

    x (B, h * w, C), words (B, L, C), word_mask (B, L) bool, True = a real word -> (B, h * w, C). The first attention
    runs on the map made smaller by `factor`. Words take part in it as keys and values only: as queries they would
    be thrown away.
    """

    def __init__(self, config: VisionLanguageFpnConfig, shape_hw: MapShape, factor: int) -> None:
        super().__init__()
        width = config.width
        self.shrink, self.enlarge = Shrink(shape_hw, factor), Enlarge(shape_hw, factor)
        self.self_attention = CrossAttention(width, config.heads)
        self.norm1 = LayerNorm(width, config.norm_eps)
        self.cross_attention = CrossAttention(width, config.heads)
        self.norm2 = LayerNorm(width, config.norm_eps)
        self.mlp = Mlp((width, config.mlp_width, width), relu)
        self.norm3 = LayerNorm(width, config.norm_eps)
        positions = partial(sine_positions, *shape_hw, width, PIXEL_CENTRE)
        self.register_constant("sine", positions)
        self.register_constant("small_sine", lambda: self.shrink(positions()[None])[0])
        self.register_constant("word_sine", partial(sequence_positions, config.words, width))

    def forward(self, x: Tensor, words: Tensor, word_mask: Tensor) -> Tensor:
        small = self.shrink(x)
        query = small + self.get_buffer("small_sine")
        keys = torch.cat((torch.ones_like(small[..., 0], dtype=torch.bool), word_mask), dim=1)
        found = self.self_attention(query, _joined(query, words), _joined(small, words), key_mask(keys, small.shape[1]))
        x = self.norm1(x + self.enlarge(found))
        placed_words = words + self.get_buffer("word_sine")
        mask = key_mask(word_mask, x.shape[1])
        x = self.norm2(x + self.cross_attention(x + self.get_buffer("sine"), placed_words, words, mask))
        return self.norm3(x + self.mlp(x))


def _joined(places: Tensor, words: Tensor) -> Tensor:
    """One sequence of both; words take the type of the places."""
    return torch.cat((places, words.to(places.dtype)), dim=1)


class AddCoarser(nn.Module):
    """A map plus the next coarser one, enlarged bilinearly."""

    def forward(self, x: Tensor, coarser: Tensor | None) -> Tensor:
        if coarser is None:
            return x
        return x + interpolate(coarser, x.shape[-2:], mode="bilinear", align_corners=False)


class FpnLevel(nn.Module):
    """map (B, channels, h, w), words, word mask, result of the coarser level or None -> (B, width, h, w)."""

    def __init__(self, config: VisionLanguageFpnConfig, channels: int, shape_hw: MapShape, factor: int) -> None:
        super().__init__()
        self.shape_hw = shape_hw
        self.lateral = ConvRelu(channels, config.width, kernel=1)
        self.block = VisionLanguageBlock(config, shape_hw, factor)
        self.add_coarser = AddCoarser()
        self.out = ConvRelu(config.width, config.width, kernel=3)

    def forward(self, x: Tensor, words: Tensor, word_mask: Tensor, coarser: Tensor | None) -> Tensor:
        tokens = self.block(to_tokens(self.lateral(x)), words, word_mask)
        return self.out(self.add_coarser(to_map(tokens, self.shape_hw), coarser))


class VisionLanguageFpn(nn.Module):
    """maps coarsest first (B, c, h, w), words (B, L, C), word_mask (B, L) bool, True = a real word
    -> mask features (B, mask_width, h, w) of the finest map's size; none is negative.

    Every level is shrunk to the size of the coarsest one for its attention, so sizes must be its multiples.
    """

    def __init__(self, config: VisionLanguageFpnConfig, shapes: Sequence[MapShape]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            FpnLevel(config, channels, shape, factor=1 << index)
            for index, (channels, shape) in enumerate(zip(config.map_channels, shapes, strict=True))
        )
        self.mask_features = ConvRelu(config.width, config.mask_width, kernel=3)

    def forward(self, maps: Sequence[Tensor], words: Tensor, word_mask: Tensor) -> Tensor:
        y: Tensor | None = None
        for level, x in zip(self.levels, maps, strict=True):
            y = level(x, words, word_mask, y)
        return self.mask_features(y)
