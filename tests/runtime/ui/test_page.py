"""The page in a real browser: what a visitor does, and what comes of it. Skipped by name where there is no browser."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import page
import pytest
from page import Visitor
from PIL import Image

from hyperseg_runtime.contracts.requests import Regions
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.images.reading import load_image
from hyperseg_runtime.session.pipeline import Pipeline
from support import TESTS

if reason := page.missing():
    pytest.skip(reason, allow_module_level=True)


@pytest.fixture(scope="module")
def address(tiny_bundle: Path) -> Iterator[str]:
    with page.served(tiny_bundle) as at:
        yield at


@pytest.fixture
def visitor(address: str) -> Iterator[Visitor]:
    with page.opened(address) as opened:
        yield opened


def test_expressions_classes_regions_and_questions(
    visitor: Visitor, pipeline: Pipeline, coffee: Path, tmp_path: Path
) -> None:
    """What the tables show is what the pipeline finds on the same pixels."""
    pixels = load_image(coffee)
    visitor.choose(coffee)
    assert visitor.image_size() == pixels.shape[1::-1]
    with pipeline.open(coffee) as session:
        visitor.write("expressions", "the cup\na spoon")
        visitor.press("segment-expressions")
        expected = session.segment_many(["the cup", "a spoon"])
        shown = visitor.rows("parts", "the cup")
        assert [(row[0], row[1]) for row in shown] == [(one.labels[0], f"{one.score:.4f}") for one in expected]
        assert [int(row[2]) for row in shown] == [int(one.mask.sum()) for one in expected]
        assert {"llm", "mask_decoder"} <= {row[0] for row in visitor.rows("times")}

        visitor.tab("regions")
        x, y = pixels.shape[1] // 2, pixels.shape[0] // 2
        visitor.drag((x, y), (x, y))
        (label, score, area) = visitor.rows("parts", "point ")[0]
        clicked_x, clicked_y = map(int, label.removeprefix("point ").split(","))
        assert abs(clicked_x - x) <= 1 and abs(clicked_y - y) <= 1  # the browser rounds where it is pointed to
        (region,) = session.run(Regions(points_xy=((clicked_x, clicked_y),)))
        assert isinstance(region, Instances)
        assert (label, score, int(area)) == (region.labels[0], f"{region.score:.4f}", int(region.mask.sum()))

        visitor.tab("classes")
        visitor.write("classes", "cup, ,spoon")
        visitor.press("segment-classes")
        assert "class 2 of 3" in visitor.text(".q-notification")

        visitor.tab("questions")
        visitor.write("question", "What is on the table?")
        visitor.press("ask")
        assert visitor.wait(lambda: visitor.text(".answer") == session.ask("What is on the table?").finished().text)


@pytest.mark.slow
def test_a_clip_becomes_a_film(visitor: Visitor, coffee: Path, tmp_path: Path) -> None:
    frames = [Image.fromarray(np.roll(load_image(coffee), 9 * shift, 1)) for shift in range(3)]
    frames[0].save(tmp_path / "clip.gif", save_all=True, append_images=frames[1:], duration=100)
    visitor.tab("video")
    visitor.choose(tmp_path / "clip.gif")
    visitor.write("film-texts", "the cup")
    visitor.press("segment-film")
    film = visitor.wait(lambda: [one for one in visitor.all("video") if one.get_property("videoWidth")])[0]
    assert film.get_property("videoWidth") == frames[0].width and not film.get_property("error")
    before = film.get_property("currentSrc")
    visitor.write("film-classes", "cup, spoon")
    visitor.press("number-film")
    visitor.wait(lambda: film.get_property("videoWidth") and film.get_property("currentSrc") != before)
    assert not film.get_property("error")


def test_what_is_no_image_is_told(visitor: Visitor) -> None:
    visitor.choose(TESTS.parent / "pyproject.toml")
    assert "pyproject.toml: " in visitor.text(".q-notification")
