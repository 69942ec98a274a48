"""A region as a row of the language model's input: a mean of image tokens (hyperseg-spec 9)."""

import math

import numpy as np


def region_weights(mask: np.ndarray, tokens: int) -> np.ndarray:
    """How much each image token counts, (tokens,) float32 that add up to 1. `mask` (H, W) bool, of any size.

    The release takes the cells of the token grid in which the region has a pixel, draws 512 of them at random, some
    more than once, samples the tokens there and averages. Here every cell counts once: the mean that its draws spread
    around. Cells are those of the mask at the size given, where the release resizes it to the encoder's input first. As
    there, a cell stands for its upper left corner, (row, column) / side, and sampling aligns the corners of the grid.
    """
    side = math.isqrt(tokens)
    rows, columns = np.nonzero(mask)
    cells = np.unique(rows * side // mask.shape[0] * side + columns * side // mask.shape[1])
    weights = np.zeros((side, side))
    for row_from, row_share in _neighbours(cells // side, side):
        for column_from, column_share in _neighbours(cells % side, side):
            np.add.at(weights, (row_from, column_from), row_share * column_share)
    return (weights.reshape(-1) / len(cells)).astype(np.float32)


def _neighbours(cells: np.ndarray, side: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The two tokens on each side of the place cell / side along one axis, and the share of each."""
    places = cells / side * (side - 1)
    lower = places.astype(np.int64)
    share = places - lower
    return [(lower, 1 - share), (np.minimum(lower + 1, side - 1), share)]
