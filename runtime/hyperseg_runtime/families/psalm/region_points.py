"""A region as a row of the language model's input: a mean of image tokens (psalm-spec 6)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from hyperseg_runtime.families.psalm.state import PsalmImage
from hyperseg_runtime.images.preprocessing import ImageGeometry

DRAWN = 256
"""Points that the release draws of every region."""
Draw = Callable[[np.ndarray], np.ndarray]
"""From how often each pixel of a region counts to how often it is taken, (h, w) int64 both."""
Seed = int | tuple[int, int]
"""Of an image; of a frame with its number behind. A pair that ends in 0 draws as its first number alone does."""


def every_pixel(counts: np.ndarray) -> np.ndarray:
    return counts


def points_of(seed: Seed | None) -> Draw:
    """Draws as the release does, the same ones for the same seed; all pixels without one."""
    return every_pixel if seed is None else partial(drawn_pixels, generator=np.random.default_rng(seed))


@dataclass(frozen=True)
class SeenRegions:
    """Regions of an image that the encoder has seen."""

    tokens: np.ndarray  # (N, D) float32: the image, as the language model sees it
    pixels: tuple[np.ndarray, ...]  # of each region, see `region_pixels`
    padded_hw: tuple[int, int]

    @classmethod
    def of(cls, image: PsalmImage, masks: Sequence[np.ndarray]) -> "SeenRegions":
        """`masks` (H, W) bool at the size of the image."""
        tokens, (_, geometry) = image.tokens().to_host()[0], image.features()
        return cls(tokens, tuple(region_pixels(mask, geometry) for mask in masks), geometry.padded_hw)

    def rows(self, draw: Draw = every_pixel) -> list[np.ndarray]:
        """The row (D,) float32 of each region."""
        tokens = self.tokens
        return [token_weights(draw(pixels), len(tokens), self.padded_hw) @ tokens for pixels in self.pixels]


def region_pixels(mask: np.ndarray, geometry: ImageGeometry) -> np.ndarray:
    """How often each pixel of the network's square counts, (h, w) int64 of its valid area; `mask` (H, W) bool.

    Every pixel of the region once, where the release draws some at random: the mean that its draws spread around. A
    region that resizing to the nearest pixel would lose keeps the pixels that its own fall on.
    """
    height, width = geometry.valid_hw
    counts = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST)).astype(np.int64)
    if not counts.any():
        rows, columns = np.nonzero(mask)
        counts[rows * height // mask.shape[0], columns * width // mask.shape[1]] = 1
    return counts


def drawn_pixels(counts: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Of those, as the release has it: `DRAWN` pixels at random, those of a smaller region all once and some again."""
    places = np.flatnonzero(counts)
    if len(places) >= DRAWN:
        chosen = generator.choice(places, DRAWN, replace=False)
    else:
        chosen = np.concatenate([places, generator.choice(places, DRAWN - len(places))])
    return np.bincount(chosen, minlength=counts.size).reshape(counts.shape)


def token_weights(counts: np.ndarray, tokens: int, padded_hw: tuple[int, int]) -> np.ndarray:
    """How much each image token counts, (tokens,) float32 that add up to 1.

    A pixel stands for its upper left corner, (row, column) / side, where the square grid of tokens is sampled
    bilinearly with its corners aligned.
    """
    side = math.isqrt(tokens)
    extents = zip(counts.shape, padded_hw, strict=True)
    rows, columns = (_shares(np.arange(extent) / padded, side) for extent, padded in extents)
    weights: np.ndarray = rows.T @ counts @ columns / counts.sum()
    return weights.reshape(-1).astype(np.float32)


def _shares(places: np.ndarray, side: int) -> np.ndarray:
    """What each of `side` samples in a row contributes at each place in 0..1, (places, side)."""
    distance = np.abs(places[:, None] * (side - 1) - np.arange(side))
    shares: np.ndarray = np.maximum(1 - distance, 0)
    return shares
