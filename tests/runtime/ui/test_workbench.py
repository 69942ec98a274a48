"""What the page does with what a visitor gives it, without a browser."""

from functools import partialmethod
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hyperseg_runtime.contracts.requests import Classes, Expressions, Regions
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.errors import ImageError, InputError
from hyperseg_runtime.families import FAMILIES
from hyperseg_runtime.families.family import FamilySpec
from hyperseg_runtime.families.hyperseg.video import HypersegVideo
from hyperseg_runtime.images.reading import load_image
from hyperseg_runtime.reports.frame_pictures import TrackedPictures
from hyperseg_runtime.session.pipeline import Pipeline
from hyperseg_runtime.ui.workbench import OF_CLIPS, Workbench, pointed_at, texts_in

NEARER = 3
"""The frame that VP9 gives back is so many times nearer to the drawn one than to the bare one: what it loses at its
default quality, 3 to 9 levels, grows with the edges that are drawn (4 times measured with ten ragged masks)."""
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
    assert bench.scores(Classes, "panoptic") and not bench.scores(Classes, "semantic")
    with pytest.raises(InputError, match="the task semantic gives no scores"):
        bench.segment(Classes.of(["cup", "table"], "semantic"), 0.5)
    with pytest.raises(InputError, match="no clip yet"):
        bench.film(Expressions.of(["the cup"]), lambda done, count: None)
    bench.close()


def test_a_clip_is_an_image_too(pipeline: Pipeline, coffee: Path, tmp_path: Path) -> None:
    """Its first frame; what was found in the film is no input again."""
    frames = [Image.fromarray(np.roll(load_image(coffee), 9 * shift, 1)) for shift in range(3)]
    frames[0].save(tmp_path / "clip.webp", save_all=True, append_images=frames[1:], lossless=True)
    bench = Workbench(pipeline)
    assert np.array_equal(bench.take(tmp_path / "clip.webp"), np.asarray(frames[0]))
    told: list[tuple[int, int | None]] = []
    film, left_out = bench.film(Expressions.of(["the cup"]), lambda done, count: told.append((done, count)))
    assert told == [(1, 3), (2, 3), (3, 3)] and not left_out
    (tmp_path / "film.mp4").write_bytes(film)
    with pytest.raises(InputError, match="is a result that this program wrote"):
        bench.take(tmp_path / "film.mp4")
    bench.close()


def test_objects_of_a_list_are_numbered_in_a_clip(
    pipeline: Pipeline, coffee: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the verb `video` draws them."""
    certain_of_nothing = partialmethod(HypersegVideo.__init__, min_score=0)  # as random weights are
    monkeypatch.setattr(HypersegVideo, "__init__", certain_of_nothing)
    photo, asked = Image.fromarray(load_image(coffee)[:200, :200]), Classes.of(["cup", "a spoon"])
    photo.save(tmp_path / "clip.gif", save_all=True, append_images=[photo.rotate(9)], duration=100)
    bench = Workbench(pipeline)
    first = bench.take(tmp_path / "clip.gif")
    film, left_out = bench.film(asked, lambda done, count: None)
    (tmp_path / "film.mp4").write_bytes(film)
    capture = cv2.VideoCapture(str(tmp_path / "film.mp4"))
    shown = capture.read()[1][:, :, ::-1].astype(int)
    capture.release()
    ((found,),) = (ready.results for ready in pipeline.open_video().push(first, asked))
    assert isinstance(found, Instances) and len(found.masks) and not left_out
    expected = TrackedPictures().film(first, [found])
    assert NEARER * np.abs(shown - expected).mean() < np.abs(shown - first).mean()
    bench.close()


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_what_is_offered_of_clips_is_what_the_family_declares(family: FamilySpec) -> None:
    bench = Workbench(cast(Pipeline, SimpleNamespace(family=family)))
    offered = [bench.offers_of_clips(kind) for kind in OF_CLIPS]
    assert offered == [family.video_answers(kind) for kind in OF_CLIPS] and bench.films == any(offered)
    bench.close()
