"""A class list in the frames of a video: instances of each frame as the definition has them, and their numbers."""

from collections.abc import Iterator

import numpy as np
import pytest

from hyperseg_export.parity.recording import RecordingGraphs
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.requests import Classes, Expressions
from hyperseg_runtime.contracts.results import TRACK, Instances
from hyperseg_runtime.errors import PromptError
from hyperseg_runtime.families.hyperseg.model import HypersegModel
from hyperseg_runtime.families.hyperseg.prompts import TRACKING
from hyperseg_runtime.families.hyperseg.video import HypersegVideo
from hyperseg_runtime.heads.class_scores import without_synonyms
from hyperseg_runtime.heads.instances import find_instances
from hyperseg_runtime.images.preprocessing import square_geometry

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
CLASSES = Classes(("cup",), TRACKING)


@pytest.fixture
def video(bundle: Bundle, recorded_graphs: RecordingGraphs, backend: OnnxRuntimeBackend) -> Iterator[HypersegVideo]:
    model = HypersegModel(bundle, recorded_graphs, backend)
    yield HypersegVideo(model.stages, model.tokenizer, min_score=0)  # random weights are certain of nothing
    model.close()


def objects(video: HypersegVideo, frame: np.ndarray, request: Classes = CLASSES) -> Instances:
    ((ready,),) = (one.results for one in video.push(frame, request))
    assert isinstance(ready, Instances)
    return ready


def numbers(found: Instances) -> list[int]:
    return [own[TRACK] for own in found.instance_details]


def test_objects_are_the_frames_instances_one_for_each_query(
    video: HypersegVideo, recorded_graphs: RecordingGraphs
) -> None:
    found = objects(video, IMAGE, Classes(("cup", "spoon"), TRACKING, synonyms=(("mug",), ())))
    made = recorded_graphs.calls["mask_decoder"][-1].outputs
    logits = without_synonyms(made["class_logits"][0], (0, 0, 1))
    geometry = square_geometry(*IMAGE.shape[:2], 256)
    expected = find_instances(logits, made["mask_logits"][0], geometry)
    kept: dict[int, int] = {}
    for row, query in enumerate(expected.queries.tolist()):
        if expected.masks[row].any():
            kept.setdefault(query, row)
    assert kept and [own["query"] for own in found.instance_details] == list(kept)
    rows = list(kept.values())
    assert np.array_equal(found.masks, expected.masks[rows]) and np.array_equal(found.scores, expected.scores[rows])
    assert found.labels == tuple(("cup", "spoon")[index] for index in expected.classes[rows])
    assert (found.asked, found.task) == (("cup", "spoon"), TRACKING) and numbers(found) == [*range(1, len(rows) + 1)]


def test_a_frame_that_is_the_same_has_the_same_numbers(video: HypersegVideo) -> None:
    """The second frame is seen with the memory of the first, the third with that of the second."""
    first, second, third = (objects(video, IMAGE) for _ in range(3))
    assert numbers(first) == [*range(1, len(first.masks) + 1)]
    of_query = {own["query"]: own[TRACK] for own in first.instance_details}
    for found in (second, third):
        kept = [own[TRACK] == of_query.get(own["query"]) for own in found.instance_details]
        assert sum(kept) > len(kept) / 2  # the memory changes masks a little


def test_every_frame_is_read_once_and_remembered(video: HypersegVideo, recorded_graphs: RecordingGraphs) -> None:
    calls = recorded_graphs.calls
    for _ in range(2):
        objects(video, IMAGE, Classes(("cup", "spoon", "table"), TRACKING))
    assert {len(calls[name]) for name in ("image_encoder", "clip_encoder", "fvp", "llm", "mask_decoder")} == {2}
    assert np.array_equal(calls["fvp"][1].inputs["latents"], calls["mask_decoder"][0].outputs["memory"])


def test_a_long_list_is_one_frame(video: HypersegVideo, recorded_graphs: RecordingGraphs) -> None:
    """Of several prompts; the memory is made from the first."""
    names = tuple(f"a thing of kind number {number}" for number in range(60))
    found = objects(video, IMAGE, Classes(names, TRACKING))
    assert found.details["prompts"] == len(recorded_graphs.calls["mask_decoder"]) > 1
    memories = [call.outputs["memory"].shape[1] for call in recorded_graphs.calls["mask_decoder"]]
    assert memories[0] == 12 and set(memories[1:]) == {1}


def test_texts_and_lists_share_the_memory(video: HypersegVideo, recorded_graphs: RecordingGraphs) -> None:
    objects(video, IMAGE)
    video.push(IMAGE, Expressions(("the cup",), "video"))
    calls = recorded_graphs.calls
    assert np.array_equal(calls["fvp"][1].inputs["latents"], calls["mask_decoder"][0].outputs["memory"])


def test_a_list_that_cannot_be_asked_leaves_the_video_as_it_was(video: HypersegVideo) -> None:
    before = objects(video, IMAGE)
    with pytest.raises(PromptError):
        video.push(IMAGE, Classes(("x" * 30_000,), TRACKING))
    (after,) = video.push(IMAGE, CLASSES)
    assert after.frame == 1 and set(numbers(before)) & set(numbers(after.results[0]))
