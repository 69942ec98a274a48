"""Early fusion: an image's map takes up what a sentence says, before any decoder sees it."""

from functools import partial

from torch import Tensor

from hyperseg_export.modules.attention import CrossAttention, key_mask
from hyperseg_export.modules.constants import ConstantModule
from hyperseg_export.modules.convolution import to_map, to_tokens
from hyperseg_export.modules.linear import Linear
from hyperseg_export.modules.positions import PIXEL_CENTRE, sine_positions


class WordFusion(ConstantModule):
    """Every place of a map looks at the words and adds what it finds; no norm, no MLP (unilseg-spec 8).

    map (B, C, h, w), word states (B, L, D), word_mask (B, L) bool, True = a real word -> (B, C, h, w).
    """

    def __init__(self, channels: int, word_width: int, heads: int, shape_hw: tuple[int, int]) -> None:
        super().__init__()
        self.shape_hw = shape_hw
        self.project = Linear(word_width, channels)
        self.attention = CrossAttention(channels, heads)
        self.register_constant("sine", partial(sine_positions, *shape_hw, channels, PIXEL_CENTRE))

    def forward(self, x: Tensor, words: Tensor, word_mask: Tensor) -> Tensor:
        places, projected = to_tokens(x), self.project(words)
        mask = key_mask(word_mask, places.shape[1])
        found = self.attention(places + self.get_buffer("sine"), projected, projected, mask)
        return to_map(places + found, self.shape_hw)
