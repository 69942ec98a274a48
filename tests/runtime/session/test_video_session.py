"""Videos as a user sees them, on the tiny bundle."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.results import SegmentationResult
from hyperseg_runtime.errors import ImageError, InputError, PromptError
from hyperseg_runtime.families.hyperseg.model import HypersegModel
from hyperseg_runtime.families.hyperseg.prompts import Task, build_prompt
from hyperseg_runtime.heads.referring import best_query
from hyperseg_runtime.images.preprocessing import longest_side_square, plain_square
from hyperseg_runtime.images.reading import load_image
from hyperseg_runtime.session.pipeline import OpenedGraphs, Pipeline
from hyperseg_runtime.session.video_session import VideoSession
from hyperseg_runtime.timing import Stopwatch

TEXT = "the cup of coffee"
SCORE = 1e-5  # scores are between 0 and 1; packed prompts differ in the last bits


@pytest.fixture(scope="module")
def frames(coffee: Path) -> list[np.ndarray]:
    """A camera that moves to the right."""
    photo = load_image(coffee)
    return [photo[:, start : start + 400] for start in (0, 60, 120)]


@pytest.fixture
def video(pipeline: Pipeline) -> VideoSession:
    return pipeline.open_video()


def same(found: SegmentationResult, expected: SegmentationResult) -> bool:
    return np.array_equal(found.masks, expected.masks) and abs(found.score - expected.score) <= SCORE


def by_hand(bundle: Bundle, graphs: OpenedGraphs, frames: list[np.ndarray]) -> Iterator[tuple[np.ndarray, float]]:
    """hyperseg-spec 7, graph call after graph call."""
    backend = OnnxRuntimeBackend(threads=1)
    model = HypersegModel(bundle, graphs, backend)
    stages, stopwatch = model.stages, Stopwatch()
    prompt = build_prompt(Task.VIDEO, TEXT, model.tokenizer, model.dims)
    latents = stages.first_latents(1)
    for frame in frames:
        pixels, geometry = longest_side_square(frame, model.dims.image_px)
        features = stages.perceive(pixels[None], latents, stopwatch)
        tokens = stages.clip_tokens(plain_square(frame, model.dims.clip_image_px)[None], stopwatch)
        embeds = stages.assemble([prompt], tokens, features.fvp_tokens)
        hidden = stages.read(embeds, [prompt.length], stages.new_caches(1), stopwatch)
        outputs = stages.decode_frame(features, hidden, [prompt], stopwatch)
        best = best_query(outputs.mask_logits.to_host()[0], outputs.score_logits.to_host()[0, :, 0], geometry)
        yield best.mask, best.score
        latents = outputs.memory


def test_frames_follow_the_definition(
    video: VideoSession, bundle: Bundle, graphs: OpenedGraphs, frames: list[np.ndarray]
) -> None:
    for frame, (mask, score) in zip(frames, by_hand(bundle, graphs, frames), strict=True):
        result = video.segment(frame, TEXT)
        assert np.array_equal(result.mask, mask) and abs(result.score - score) <= SCORE
        assert (result.text, result.task) == (TEXT, "video")


def test_a_frame_depends_on_the_ones_before_until_a_restart(video: VideoSession, frames: list[np.ndarray]) -> None:
    first, again = video.segment(frames[0], TEXT), video.segment(frames[0], TEXT)
    assert first.score != again.score
    video.restart()
    assert video.segment(frames[0], TEXT).score == first.score


def test_texts_share_a_frame_and_do_not_change_its_memory(pipeline: Pipeline, frames: list[np.ndarray]) -> None:
    """Two videos take turns on one pipeline."""
    one, both = pipeline.open_video(), pipeline.open_video()
    for frame in frames:
        expected = one.segment(frame, TEXT)
        other, found = both.segment_many(frame, ["a spoon", TEXT])
        assert same(found, expected) and found.reused_tokens > 0 == other.reused_tokens


def test_a_frame_that_fails_leaves_the_memory(
    video: VideoSession, pipeline: Pipeline, frames: list[np.ndarray], tmp_path: Path
) -> None:
    expected = pipeline.open_video()
    assert same(video.segment(frames[0], TEXT), expected.segment(frames[0], TEXT))
    with pytest.raises(PromptError, match="the text is empty"):
        video.segment(frames[1], " ")
    with pytest.raises(InputError, match="a frame needs a text"):
        video.segment_many(frames[1], [])
    with pytest.raises(InputError, match="takes a list of texts"):
        video.segment_many(frames[1], TEXT)
    with pytest.raises(ImageError):
        video.segment(tmp_path / "absent.jpg", TEXT)
    assert same(video.segment(frames[1], TEXT), expected.segment(frames[1], TEXT))


def test_a_closed_pipeline_says_so(bundle: Bundle, frames: list[np.ndarray]) -> None:
    pipeline = Pipeline(bundle, OnnxRuntimeBackend(threads=1))
    video = pipeline.open_video()
    pipeline.close()
    with pytest.raises(InputError, match="the pipeline of this video is closed"):
        video.segment(frames[0], TEXT)
    with pytest.raises(InputError, match="the pipeline is closed"):
        pipeline.open_video()
