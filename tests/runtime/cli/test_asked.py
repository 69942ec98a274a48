"""What verbs take as a request."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hyperseg_runtime.cli.asked import asked_of
from hyperseg_runtime.contracts.requests import Classes, Expressions, Regions
from hyperseg_runtime.errors import InputError


def test_texts_lists_and_regions(tmp_path: Path) -> None:
    assert asked_of(["a", "b"], "reasoning").request == Expressions(("a", "b"), "reasoning")
    listed = asked_of([], "panoptic", "cat,sky")
    assert listed.request == Classes(("cat", "sky"), "panoptic") and listed.results is None
    lines = np.zeros((4, 6), np.uint8)
    lines[1, 2:5] = 255
    Image.fromarray(lines).save(tmp_path / "lines.png")
    asked = asked_of([], None, None, ["1,2,3,4.5"], ["3,4", "5,0"], [tmp_path / "lines.png"], [tmp_path / "lines.png"])
    assert asked.results == 5 and isinstance(asked.request, Regions)
    assert asked.request == Regions(((3.0, 4.0), (5.0, 0.0)), ((1.0, 2.0, 3.0, 4.5),))
    for (marked,) in (asked.request.scribbles, asked.request.masks):
        assert np.array_equal(marked, lines > 0)


def test_pictures_of_regions_are_read_as_regions(tmp_path: Path) -> None:
    """Numbers of objects in 16 bits, as `video --classes` writes them, and a drawing on a transparent ground."""
    marked = np.zeros((4, 6), np.bool_)
    marked[1, 2:5] = True
    Image.fromarray(np.where(marked, 3, 0).astype(np.uint16)).save(tmp_path / "numbers.png")
    drawn = np.where(marked[:, :, None], (255, 0, 0, 255), (255, 255, 255, 0)).astype(np.uint8)
    Image.fromarray(drawn).save(tmp_path / "lines.png")
    request = asked_of([], None, scribbles=[tmp_path / "lines.png"], masks=[tmp_path / "numbers.png"]).request
    assert isinstance(request, Regions)
    assert np.array_equal(request.scribbles[0], marked) and np.array_equal(request.masks[0], marked)


def test_two_kinds_together_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="expected one of texts, --classes and regions, got texts and --classes"):
        asked_of(["the cup"], None, "coco")
    with pytest.raises(InputError, match=r"got --classes and regions \(--box, --point, --scribble, --mask\)"):
        asked_of([], None, "coco", points=["1,2"])
    with pytest.raises(InputError, match="got nothing"):
        asked_of([], None)


@pytest.mark.parametrize("box", ["1,2,3", "1,2,3,x", "1,2,3,nan", ""])
def test_a_box_is_four_numbers(box: str) -> None:
    with pytest.raises(InputError, match=f"--box {box}: expected X0,Y0,X1,Y1, 4 numbers in pixels"):
        asked_of([], None, boxes=[box])
