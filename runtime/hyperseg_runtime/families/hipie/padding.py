"""How much of each level of a padded canvas is image (hipie-spec 7)."""

import numpy as np

STRIDES = (8, 16, 32)
"""Of the backbone's maps; one more level of half the last one's size follows."""


def valid_sizes(image_hw: tuple[int, int], canvas_hw: tuple[int, int]) -> np.ndarray:
    """Rows and columns of every level that are no padding, (4, 2) int64.

    A place is image where the pixel that it is the nearest one of is; the last level asks the first one's places.
    """
    return np.stack([_valid(*sizes) for sizes in zip(image_hw, canvas_hw, strict=True)], axis=-1)


def _valid(image: int, canvas: int) -> np.ndarray:
    """Along one axis, (4,) int64."""
    extents = [-(-canvas // stride) for stride in STRIDES]
    counts = [_nearest_inside(image, canvas, extent) for extent in extents]
    last = _nearest_inside(counts[0], extents[0], -(-extents[-1] // 2))
    return np.array([*counts, last], np.int64)


def _nearest_inside(inside: int, source: int, target: int) -> int:
    """How many of `target` places lie on the first `inside` of `source` ones."""
    return int(np.count_nonzero(np.arange(target) * source // target < inside))
