"""Windows of reference frames: the original's rule, clips that it cannot do, and what is computed once."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hyperseg_export.parity.recording import RecordingGraphs
from hyperseg_runtime.contracts.requests import Expressions
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.errors import InputError, PromptError
from hyperseg_runtime.families.family import FrameResults
from hyperseg_runtime.families.instructseg.model import InstructsegModel
from hyperseg_runtime.families.instructseg.video import InstructsegVideo

pytestmark = pytest.mark.slow  # its bundle takes a minute to make

FRAME = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
FRAMES = [np.roll(FRAME, 7 * number, axis=1) for number in range(6)]
TEXTS = ("the cup", "a spoon")
ASKED = Expressions(TEXTS, "video")


class Windows(InstructsegVideo):
    """Says of each key frame which references it would be seen with."""

    def __init__(self, references: int) -> None:
        stages: Any = SimpleNamespace(dims=SimpleNamespace(reference_frames=references))
        reader: Any = SimpleNamespace(check=lambda *asked: None)
        super().__init__(stages, reader)

    def _segment(self, key: Any, window: Sequence[Any]) -> FrameResults:
        found: Any = [frame.number for frame in window if frame is not key]
        return FrameResults(key.number, found)


def windows(frames: int, references: int) -> list[list[int]]:
    video = Windows(references)
    found = [one for _ in range(frames) for one in video.push(FRAME, ASKED)] + video.finish()
    assert [one.frame for one in found] == list(range(frames))
    return [list(map(int, one.results)) for one in found]


def pushed(model: InstructsegModel, frames: Sequence[np.ndarray], asked: Expressions = ASKED) -> list[list[Instances]]:
    video = model.open_video()
    ready = [one for frame in frames for one in video.push(frame, asked)] + video.finish()
    assert [one.frame for one in ready] == list(range(len(frames)))
    return [[result for result in one.results if isinstance(result, Instances)] for one in ready]


def test_references_are_those_of_the_original(golden_references: dict[str, list[list[int]]]) -> None:
    """Wherever its rule stays inside the clip (instructseg-spec 8)."""
    compared = 0
    for case, expected in golden_references.items():
        frames, references = (int(part.split("=")[1]) for part in case.split())
        if frames > references:
            assert windows(frames, references) == expected, case
            compared += 1
    assert compared >= 20


@pytest.mark.parametrize(("frames", "references"), [(1, 4), (2, 4), (4, 4), (3, 6)])
def test_a_clip_shorter_than_the_window_has_all_its_other_frames(frames: int, references: int) -> None:
    everything = list(range(frames))
    assert windows(frames, references) == [[n for n in everything if n != key] for key in everything]


def test_each_frame_is_encoded_once_and_perceived_once_for_each_text(
    model: InstructsegModel, counted: RecordingGraphs
) -> None:
    found = pushed(model, FRAMES)
    assert [len(results) for results in found] == [len(TEXTS)] * len(FRAMES)
    once = ("image_encoder", "clip_encoder", "ovp_media", "pixel_decoder", "vmtf_media")
    assert {graph: len(counted.calls[graph]) for graph in once} == dict.fromkeys(once, len(FRAMES))
    for graph in ("ovp", "mask_decoder"):
        assert len(counted.calls[graph]) == len(FRAMES) * len(TEXTS), graph
    assert len(counted.calls["llm"]) == len(FRAMES), "the texts of a frame go through together"


def test_a_frame_is_seen_with_others_as_one_image_is_with_itself(model: InstructsegModel) -> None:
    (alone,) = pushed(model, FRAMES[:1])
    (in_company, _) = pushed(model, FRAMES[:2])
    image = model.open(FRAMES[0])
    with image.seen_with([model.open(FRAMES[1])]):
        by_hand = [one for one in model.segment(image, ASKED) if isinstance(one, Instances)]
    assert [one.score for one in by_hand] == pytest.approx([one.score for one in in_company], abs=1e-5)
    assert [one.score for one in alone] != [one.score for one in in_company]


def test_frames_may_differ_in_size(model: InstructsegModel) -> None:
    """A reference is seen as a square of one size; a mask has the size of its own frame."""
    frames = [FRAMES[0], FRAMES[1][:40, :50].copy(), np.repeat(FRAMES[2], 2, axis=0)]
    for frame, results in zip(frames, pushed(model, frames), strict=True):
        assert {result.masks.shape for result in results} == {(1, *frame.shape[:2])}


def test_objects_share_the_pixels_out(model: InstructsegModel) -> None:
    frames = FRAMES[:2]
    binary, likeliest, ordered = (
        pushed(model, frames, Expressions(TEXTS, task)) for task in ("video", "video objects", "video objects in order")
    )
    for plain, soft, hard in zip(binary, likeliest, ordered, strict=True):
        for shared in (soft, hard):
            assert not (shared[0].mask & shared[1].mask).any()
            assert [one.score for one in shared] == pytest.approx([one.score for one in plain], abs=1e-6)
        assert np.array_equal(hard[1].mask, plain[1].mask)
        assert np.array_equal(hard[0].mask, plain[0].mask & ~plain[1].mask)


def test_a_frame_that_fails_leaves_the_video_as_it_was(model: InstructsegModel) -> None:
    video = model.open_video()
    ready = video.push(FRAMES[0], ASKED)
    with pytest.raises(PromptError, match="the text is empty"):
        video.push(FRAMES[1], Expressions((" ",), "video"))
    with pytest.raises(InputError, match="a frame needs a text"):
        video.push(FRAMES[1], Expressions((), "video"))
    ready += video.push(FRAMES[1], ASKED) + video.finish()
    expected = pushed(model, FRAMES[:2])
    for one, results in zip(ready, expected, strict=True):
        scores = [result.score for result in one.results if isinstance(result, Instances)]
        assert scores == pytest.approx([result.score for result in results], abs=1e-6)


def test_what_a_frame_gave_up_is_not_missed(model: InstructsegModel) -> None:
    """Its masks were made; as a reference it keeps its tokens and rows, and no maps."""
    video = model.open_video()
    for frame in FRAMES:
        video.push(frame, ASKED)
    assert len(video._window) == model.dims.reference_frames + 1
    assert [frame.image._features is None for frame in video._window[:2]] == [True, True]
