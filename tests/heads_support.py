"""Logits for the heads of class lists, and golden arrays as the heads' tests read them."""

from collections.abc import Mapping

import numpy as np
from hypothesis import strategies as st

from hyperseg_runtime.images.preprocessing import ImageGeometry, fitted_size, square_geometry

MERGE_CASES = ("mixed", "exact", "nothing", "single_stuff", "one_class", "random")
QUERIES = 12
"""Of the golden model; as many instances are kept there."""


def plain(height: int, width: int) -> ImageGeometry:
    """Mask logits that have the image's size already."""
    return ImageGeometry((height, width), (height, width), (height, width))


def golden_geometry(arrays: Mapping[str, np.ndarray]) -> ImageGeometry:
    height, width = (int(extent) for extent in arrays["in_height_width"])
    return square_geometry(height, width, 160)


def unpacked(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Masks (M, H, W) bool of `NAME_packed` and `NAME_shape`."""
    shape = arrays[f"{name}_shape"]
    return np.unpackbits(arrays[f"{name}_packed"])[: np.prod(shape)].reshape(shape).astype(bool)


@st.composite
def class_cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, ImageGeometry, list[bool]]:
    """Class logits (Q, C + 1), mask logits (Q, h, w), a geometry of any shape, thing flags."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    queries, classes = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    side, original = draw(st.integers(4, 32)), draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    geometry = ImageGeometry(original, fitted_size(*original, side), (side, side))
    class_logits = random.normal(0, draw(st.sampled_from((1, 8))), (queries, classes + 1)).astype(np.float32)
    masks = random.normal(draw(st.sampled_from((-3, 0, 3))), 4, (queries, 6, 7)).astype(np.float32)
    return class_logits, masks, geometry, random.integers(0, 2, classes).astype(bool).tolist()
