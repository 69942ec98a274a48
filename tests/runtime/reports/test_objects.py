"""Objects of a frame as one picture of numbers."""

import io

import numpy as np
import pytest
from PIL import Image

from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.reports.colours import colour_of
from hyperseg_runtime.reports.objects import object_map, object_png


def found(text: str, columns: slice, score: float) -> Instances:
    masks = np.zeros((1, 4, 9), bool)
    masks[0, :, columns] = True
    return Instances(asked=(text,), task="video", masks=masks, scores=np.array([score], np.float32), labels=(text,))


def test_the_best_score_wins_where_masks_overlap() -> None:
    results = [found("a", slice(0, 4), 0.5), found("b", slice(3, 6), 0.9), found("c", slice(5, 8), 0.5)]
    assert object_map(results)[0].tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 0]
    assert object_map(results[::-1])[0].tolist() == [3, 3, 3, 2, 2, 2, 1, 1, 0]


def test_of_equal_scores_the_first_wins() -> None:
    assert object_map([found("a", slice(0, 5), 0.5), found("b", slice(3, 8), 0.5)])[0].tolist() == [1] * 5 + [2] * 3 + [
        0
    ]


def test_the_picture_holds_numbers_and_the_colours_of_texts() -> None:
    results = [found("a", slice(0, 3), 0.5), found("b", slice(3, 6), 0.9)]
    with Image.open(io.BytesIO(object_png(results))) as picture:
        assert picture.mode == "P" and np.array_equal(np.asarray(picture), object_map(results))
        colours = np.asarray(picture.convert("RGB"))[0, [0, 3, 8]].tolist()
    assert colours == [list(colour_of("a")), list(colour_of("b")), [0, 0, 0]]


@pytest.mark.parametrize("count", [0, 256])
def test_as_many_as_a_byte_can_tell_apart(count: int) -> None:
    with pytest.raises(InputError, match=f"{count} objects for one picture, expected 1 to 255"):
        object_map([found("a", slice(0, 1), 0.5)] * count)
