"""Objects followed through frames: what is remembered, what is asked, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hyperseg_runtime.contracts.requests import Expressions, Regions
from hyperseg_runtime.contracts.results import Instances, decode_rle
from hyperseg_runtime.errors import InputError, NumericsError
from hyperseg_runtime.families.family import FrameResults
from hyperseg_runtime.families.psalm.region_points import drawn_pixels
from hyperseg_runtime.families.psalm.stages import PsalmStages
from hyperseg_runtime.families.psalm.video import PsalmVideo
from hyperseg_runtime.session.pipeline import Pipeline
from hyperseg_runtime.session.video_session import VideoSession
from support import RunCli, family_bundle

pytestmark = pytest.mark.slow  # its bundle takes a minute to make

FRAMES = np.random.default_rng(3).integers(0, 256, (4, 48, 64, 3), np.uint8)
OBJECTS = Regions(points_xy=((20.0, 20.0),), boxes_xyxy=((30.0, 10.0, 60.0, 40.0),))


@pytest.fixture(scope="module")
def bundle_dir(shared_dir: Path) -> Path:
    return family_bundle(shared_dir, "psalm")


@pytest.fixture(scope="module")
def pipeline(bundle_dir: Path) -> Pipeline:
    return Pipeline.load(bundle_dir, threads=1)


def masks_of(ready: list[FrameResults]) -> np.ndarray:
    (frame,) = ready
    return np.stack([result.mask for result in frame.results if isinstance(result, Instances)])


def state_of(session: VideoSession) -> PsalmVideo:
    state = session._state
    assert isinstance(state, PsalmVideo)
    return state


def test_objects_keep_their_names_and_choose_different_queries(pipeline: Pipeline) -> None:
    video = pipeline.open_video()
    for number, frame in enumerate(FRAMES):
        ((found),) = video.push(frame, Regions() if number else OBJECTS)
        assert found.frame == number
        assert [result.asked for result in found.results] == [("point 20,20",), ("box 30,10,60,40",)]
        queries = [result.instance_details[0]["query"] for result in found.results if isinstance(result, Instances)]
        assert len(set(queries)) == 2


def test_objects_share_the_pixels_out_and_are_remembered_as_they_are(pipeline: Pipeline) -> None:
    tasks = ("tracking", "video objects", "video objects in order")
    videos = {task: pipeline.open_video() for task in tasks}
    for number, frame in enumerate(FRAMES):
        asked = Regions() if number else OBJECTS
        found = {}
        for task, video in videos.items():
            (ready,) = video.push(frame, replace(asked, task=task))
            found[task] = [result for result in ready.results if isinstance(result, Instances)]
            assert {result.task for result in found[task]} == {task}
        plain, soft, hard = found.values()
        for merged in (soft, hard):
            assert not (merged[0].mask & merged[1].mask).any()
            assert [(one.score, one.instance_details) for one in merged] == [
                (one.score, one.instance_details) for one in plain
            ]
        assert np.array_equal(hard[1].mask, plain[1].mask)
        assert np.array_equal(hard[0].mask, plain[0].mask & ~plain[1].mask)


def test_a_frame_is_asked_for_what_the_frame_before_showed(pipeline: Pipeline) -> None:
    """The same frame after another memory is not the same; given again, it is."""
    one, other = pipeline.open_video(), pipeline.open_video()
    one.push(FRAMES[0], OBJECTS)
    other.push(FRAMES[1], OBJECTS)
    assert not np.array_equal(masks_of(one.push(FRAMES[2], Regions())), masks_of(other.push(FRAMES[2], Regions())))
    again = [masks_of(video.push(FRAMES[3], OBJECTS)) for video in (one, other)]
    assert np.array_equal(*again)


def test_overlapping_objects_are_not_remembered(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    video = pipeline.open_video()
    video.push(FRAMES[0], OBJECTS)
    monkeypatch.setattr("hyperseg_runtime.families.psalm.video.SAME_OBJECT_IOU", 1.0)
    found = masks_of(video.push(FRAMES[1], Regions()))
    remembered = state_of(video)._memory
    if found.any((1, 2)).all():
        assert remembered is not None
    monkeypatch.setattr("hyperseg_runtime.families.psalm.video.SAME_OBJECT_IOU", -1.0)
    video.push(FRAMES[2], Regions())
    assert state_of(video)._memory is remembered


def test_a_frame_that_failed_draws_the_same_points_again(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[np.ndarray] = []

    def watched(counts: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        drawn.append(drawn_pixels(counts, generator))
        return drawn[-1]

    def fail(*given: object) -> None:
        raise NumericsError()

    monkeypatch.setattr("hyperseg_runtime.families.psalm.region_points.drawn_pixels", watched)
    plain, failing = pipeline.open_video(), pipeline.open_video()
    for video in (plain, failing):
        video.push(FRAMES[0], replace(OBJECTS, seed=3))
    with monkeypatch.context() as patch, pytest.raises(NumericsError):
        patch.setattr(PsalmStages, "decode", fail)
        failing.push(FRAMES[1], Regions())
    for frame in FRAMES[1:]:
        drawn.clear()
        expected, found = (masks_of(video.push(frame, Regions())) for video in (plain, failing))
        assert np.array_equal(found, expected) and np.array_equal(drawn[2:], drawn[:2]) and len(drawn) == 4


def test_a_video_without_regions_is_refused_and_stays_usable(pipeline: Pipeline) -> None:
    video = pipeline.open_video()
    with pytest.raises(InputError, match="a video of objects begins with regions"):
        video.push(FRAMES[0], Regions())
    with pytest.raises(InputError, match="PSALM does not answer expressions about videos"):
        video.push(FRAMES[0], Expressions(("the cup",)))
    with pytest.raises(InputError, match="outside the image"):
        video.push(FRAMES[0], Regions(points_xy=((64.0, 3.0),)))
    assert video.push(FRAMES[0], OBJECTS)[0].frame == 0


def test_more_objects_than_queries_are_refused(pipeline: Pipeline) -> None:
    points = tuple((float(number), 3.0) for number in range(11))
    with pytest.raises(InputError, match="11 objects are to be followed, at most 10 can be"):
        pipeline.open_video().push(FRAMES[0], Regions(points_xy=points))


def test_the_verb_follows_what_was_pointed_at(
    run_cli: RunCli, bundle_dir: Path, pipeline: Pipeline, tmp_path: Path
) -> None:
    import json

    from PIL import Image

    frames, out = tmp_path / "frames", tmp_path / "out"
    frames.mkdir()
    for number, frame in enumerate(FRAMES[:2]):
        Image.fromarray(frame).save(frames / f"{number}.png")
    pointed = ("--point", "20,20", "--box", "30,10,60,40")
    result = run_cli("video", bundle_dir, frames, *pointed, "--out", out, "--objects", "--json")
    assert result.code == 0, result.err
    video = pipeline.open_video()
    for number, entry in enumerate(json.loads(result.out)["frames"]):
        expected = masks_of(video.push(FRAMES[number], Regions() if number else OBJECTS))
        found = [decode_rle(one["instances"][0]["segmentation"]) for one in entry["results"]]
        assert np.array_equal(np.stack(found), expected)
        assert (out / f"{number}.png.mask-2.png").is_file() and (out / f"{number}.png.objects.png").is_file()


@pytest.mark.parametrize(("arguments", "got"), [((), "nothing"), (("the cup", "--point", "1,1"), "texts and regions")])
def test_the_verb_takes_texts_or_regions(
    run_cli: RunCli, bundle_dir: Path, tmp_path: Path, arguments: tuple[str, ...], got: str
) -> None:
    result = run_cli("video", bundle_dir, tmp_path, *arguments, "--out", tmp_path / "out")
    assert result.code == 2 and f"got {got}" in result.err
