"""Videos as a user sees them, on the tiny bundle."""

from pathlib import Path

import numpy as np
import pytest

from hyperseg_export.parity.tolerances import SAME_SCORE
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.requests import Expressions
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.errors import ImageError, InputError, PromptError
from hyperseg_runtime.images.reading import load_image
from hyperseg_runtime.session.pipeline import Pipeline
from hyperseg_runtime.session.video_session import VideoSession

TEXT = "the cup of coffee"


@pytest.fixture(scope="module")
def frames(coffee: Path) -> list[np.ndarray]:
    """A camera that moves to the right."""
    photo = load_image(coffee)
    return [photo[:, start : start + 400] for start in (0, 60, 120)]


@pytest.fixture
def video(pipeline: Pipeline) -> VideoSession:
    return pipeline.open_video()


def same(found: Instances, expected: Instances) -> bool:
    return np.array_equal(found.masks, expected.masks) and abs(found.score - expected.score) <= SAME_SCORE


def pushed(video: VideoSession, frame: np.ndarray) -> Instances:
    """The one result of the next frame."""
    ((result,),) = (ready.results for ready in video.push(frame, [TEXT]))
    assert isinstance(result, Instances)
    return result


def test_a_frame_says_what_was_asked_and_how_long_it_took(video: VideoSession, frames: list[np.ndarray]) -> None:
    result = pushed(video, frames[0])
    assert (result.asked, result.labels, result.task) == ((TEXT,), (TEXT,), "video")
    assert {"image_encoder", "mask_decoder"} <= result.timings_ms.keys()


def test_a_causal_family_gives_every_frame_at_once(video: VideoSession, frames: list[np.ndarray]) -> None:
    ready = [[(found.frame, len(found.results)) for found in video.push(frame, [TEXT])] for frame in frames]
    assert ready == [[(0, 1)], [(1, 1)], [(2, 1)]] and video.finish() == []
    assert [found.frame for found in video.push(frames[0], [TEXT])] == [0]  # another video


def test_a_frame_depends_on_the_ones_before_until_the_video_ends(video: VideoSession, frames: list[np.ndarray]) -> None:
    first, again = pushed(video, frames[0]), pushed(video, frames[0])
    assert first.score != again.score
    video.finish()
    assert pushed(video, frames[0]).score == first.score


def test_texts_share_a_frame_and_do_not_change_its_memory(pipeline: Pipeline, frames: list[np.ndarray]) -> None:
    """Two videos take turns on one pipeline."""
    one, both = pipeline.open_video(), pipeline.open_video()
    for frame in frames:
        expected = pushed(one, frame)
        ((other, found),) = (ready.results for ready in both.push(frame, Expressions(("a spoon", TEXT))))
        assert isinstance(found, Instances) and same(found, expected)
        assert found.details["reused_tokens"] > 0 == other.details["reused_tokens"]


def test_a_frame_that_fails_leaves_the_memory(
    video: VideoSession, pipeline: Pipeline, frames: list[np.ndarray], tmp_path: Path
) -> None:
    expected = pipeline.open_video()
    assert same(pushed(video, frames[0]), pushed(expected, frames[0]))
    with pytest.raises(PromptError, match="the text is empty"):
        video.push(frames[1], [" "])
    with pytest.raises(InputError, match="a frame needs a text"):
        video.push(frames[1], [])
    with pytest.raises(InputError, match="expected a list of texts, got one text"):
        video.push(frames[1], TEXT)
    with pytest.raises(InputError, match="unknown task 'referring' for expressions; HyperSeg knows video"):
        video.push(frames[1], Expressions((TEXT,), "referring"))
    with pytest.raises(ImageError):
        video.push(tmp_path / "absent.jpg", [TEXT])
    assert same(pushed(video, frames[1]), pushed(expected, frames[1]))


def test_a_closed_pipeline_says_so(bundle: Bundle, frames: list[np.ndarray]) -> None:
    pipeline = Pipeline(bundle, OnnxRuntimeBackend(threads=1))
    video = pipeline.open_video()
    pipeline.close()
    for request in (lambda: video.push(frames[0], [TEXT]), video.finish):
        with pytest.raises(InputError, match="the pipeline of this video is closed"):
            request()
    with pytest.raises(InputError, match="the pipeline is closed"):
        pipeline.open_video()
