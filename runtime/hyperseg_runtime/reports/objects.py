"""The objects of a frame in one picture, as DAVIS and YouTube-VOS store them: each pixel has its object's number."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.reports.colours import colour_of

MOST = 255
"""Objects that fit into a picture of 8 bits; 0 is none of them."""


def object_map(results: Sequence[Instances]) -> np.ndarray:
    """Number of the result, from 1, whose best mask each pixel belongs to, (H, W) uint8; 0 for none.

    Where masks overlap the best score wins, of equal ones the first. Masks are binary here: DAVIS's soft merging weighs
    the probability of each pixel, which results do not keep. Raises InputError for more than `MOST`.
    """
    if not 0 < len(results) <= MOST:
        raise InputError(f"{len(results)} objects for one picture, expected 1 to {MOST}")
    numbers = np.zeros(results[0].masks.shape[1:], np.uint8)
    order = sorted(range(len(results)), key=lambda index: (results[index].score, -index))
    for index in order:
        numbers[results[index].mask] = index + 1
    return numbers


def object_png(results: Sequence[Instances]) -> bytes:
    """The map as a PNG with a palette: each object in the colour of what was asked."""
    picture = Image.fromarray(object_map(results)).convert("P")
    colours = [(0, 0, 0), *(colour_of(", ".join(result.asked)) for result in results)]
    picture.putpalette([level for colour in colours for level in colour])
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()
