"""What the page does with what a visitor gives it, without a browser."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hyperseg_runtime.contracts.requests import Classes, Expressions, Regions
from hyperseg_runtime.errors import ImageError, InputError
from hyperseg_runtime.images.reading import load_image
from hyperseg_runtime.session.pipeline import Pipeline
from hyperseg_runtime.ui.workbench import Workbench, pointed_at, texts_in

PLACE = st.tuples(st.floats(-50, 250), st.floats(-50, 250))


@given(down=PLACE, up=PLACE)
def test_what_is_pointed_at_lies_in_the_image(down: tuple[float, float], up: tuple[float, float]) -> None:
    regions = pointed_at(down, up, (100, 200))
    assert len(regions.points_xy) + len(regions.boxes_xyxy) == 1
    assert all(0 <= x < 200 and 0 <= y < 100 for x, y in regions.points_xy)
    assert all(0 <= x0 <= x1 <= 200 and 0 <= y0 <= y1 <= 100 for x0, y0, x1, y1 in regions.boxes_xyxy)
    assert regions == pointed_at(up, down, (100, 200))


def test_a_click_is_a_point_and_a_drag_a_box() -> None:
    assert pointed_at((10.7, 20.2), (11.5, 22.0), (100, 200)) == Regions(points_xy=((10, 20),))
    assert pointed_at((60.0, 70.0), (10.0, 20.0), (100, 200)) == Regions(boxes_xyxy=((10, 20, 60, 70),))


def test_one_text_a_line() -> None:
    assert texts_in(" the cup \n\n a spoon\n") == ("the cup", "a spoon")
    with pytest.raises(InputError, match="no text yet"):
        texts_in(" \n ")


def test_an_image_and_what_is_found_in_it(pipeline: Pipeline, coffee: Path) -> None:
    bench = Workbench(pipeline)
    with pytest.raises(InputError, match="no image yet"):
        bench.segment(Expressions.of(["the cup"]))
    with pytest.raises(ImageError, match=r"absent\.png"):
        bench.take(coffee.parent / "absent.png")
    assert np.array_equal(bench.take(coffee), load_image(coffee))
    expected = pipeline(coffee, "the cup")
    found = bench.segment(Expressions.of(["the cup"]))
    assert found.rows == (("the cup", expected.score, int(expected.mask.sum())),)
    assert found.mask_png == expected.to_png()
    several = bench.segment(Classes.of(["cup", "table"], "panoptic"))
    assert sum(area for *_, area in several.rows) <= expected.mask.size
    with pytest.raises(InputError, match="no clip yet"):
        bench.film(["the cup"], lambda done, count: None)
    bench.close()


def test_a_clip_is_an_image_too(pipeline: Pipeline, coffee: Path, tmp_path: Path) -> None:
    """Its first frame; what was found in the film is no input again."""
    frames = [Image.fromarray(np.roll(load_image(coffee), 9 * shift, 1)) for shift in range(3)]
    frames[0].save(tmp_path / "clip.webp", save_all=True, append_images=frames[1:], lossless=True)
    bench = Workbench(pipeline)
    assert np.array_equal(bench.take(tmp_path / "clip.webp"), np.asarray(frames[0]))
    told: list[tuple[int, int | None]] = []
    film, left_out = bench.film(["the cup"], lambda done, count: told.append((done, count)))
    assert told == [(1, 3), (2, 3), (3, 3)] and not left_out
    (tmp_path / "film.mp4").write_bytes(film)
    with pytest.raises(InputError, match="is a result that this program wrote"):
        bench.take(tmp_path / "film.mp4")
    bench.close()
