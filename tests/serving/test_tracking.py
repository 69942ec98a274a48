"""Objects of a class list in a video at the real server: every pixel, score and number of the pipeline's own.

With a model that is certain of what it finds.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hyperseg_runtime.contracts.requests import Classes
from hyperseg_runtime.contracts.results import TRACK, Instances, Result
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.images.reading import load_image
from hyperseg_runtime.reports.frame_pictures import track_map
from hyperseg_serving.contract import Limits, Options
from hyperseg_serving.server.distribution import Distribution
from serving_support import Running, running_server, same
from support import RunCli

NAMES = ("cup", "spoon", "table")
LISTED = Classes.of(NAMES)


@pytest.fixture(scope="module")
def running(
    distribution: Distribution, certain_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    repository = tmp_path_factory.mktemp("certain") / "repository"
    with running_server(certain_bundle, repository, distribution) as started:
        yield started


@pytest.fixture(scope="module")
def frames(coffee: Path) -> list[np.ndarray]:
    photo = load_image(coffee)
    return [photo[:240, 8 * number : 8 * number + 320] for number in range(4)]


@pytest.fixture(scope="module")
def expected(running: Running, frames: list[np.ndarray]) -> list[Instances]:
    video = running.pipeline.open_video()
    return [instances(ready.results) for frame in frames for ready in video.push(frame, LISTED)]


def instances(results: tuple[Result, ...]) -> Instances:
    (found,) = results
    assert isinstance(found, Instances)
    return found


def numbers(found: Instances) -> set[int]:
    return {own[TRACK] for own in found.instance_details}


def test_objects_and_their_numbers_are_the_pipelines(
    running: Running, frames: list[np.ndarray], expected: list[Instances]
) -> None:
    video = running.client.open_video()
    for number, (frame, own) in enumerate(zip(frames, expected, strict=True)):
        (ready,) = video.push(frame, LISTED, last=number == len(frames) - 1)
        assert ready.frame == number and same(ready.results, [own])
    assert any(numbers(one) & numbers(other) for one, other in pairwise(expected)), "some stay"


def test_objects_below_a_score_are_left_out_and_followed(
    running: Running, frames: list[np.ndarray], expected: list[Instances]
) -> None:
    least = float(expected[0].scores[0])
    video = running.client.open_video()
    (first,) = video.push(frames[0], LISTED, options=Options(min_score=least))
    (second,) = video.push(frames[1], LISTED, last=True)
    assert same(first.results, [expected[0].at_least(least)]) and same(second.results, [expected[1]])


def test_longer_lists_than_the_limit_and_synonyms_are_refused(running: Running, frames: list[np.ndarray]) -> None:
    names = tuple(f"thing {number}" for number in range(Limits().max_classes + 1))
    with pytest.raises(InputError, match="E_TOO_MANY: CLASSES holds more elements than any request may have"):
        running.client.open_video().push(frames[0], Classes(names), last=True)
    with pytest.raises(InputError, match="without synonyms"):
        running.client.open_video().push(frames[0], Classes(("cup",), synonyms=(("mug",),)), last=True)


def test_the_verb_writes_the_numbers(
    running: Running, run_cli: RunCli, frames: list[np.ndarray], expected: list[Instances], tmp_path: Path
) -> None:
    (tmp_path / "frames").mkdir()
    for number, frame in enumerate(frames[:2]):
        Image.fromarray(frame).save(tmp_path / "frames" / f"{number}.png")
    url, out = running.server.address.grpc_url, tmp_path / "out"
    asked = ("client", "video", tmp_path / "frames", *NAMES, "--classes", "--url", url)
    result = run_cli(*asked, "--format", "png", "--out", out)
    assert result.code == 0, result.err
    assert {path.name for path in out.iterdir()} == {"0.png.mask.png", "1.png.mask.png"}
    for number, own in enumerate(expected[:2]):
        with Image.open(out / f"{number}.png.mask.png") as drawn:
            assert np.array_equal(np.asarray(drawn), track_map(own)) and track_map(own).any()
