"""Frames of a video against hyperseg-spec 7, graph call after graph call."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hyperseg_export.parity.recording import RecordingGraphs
from hyperseg_export.parity.tolerances import SAME_SCORE
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.requests import Expressions
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.families.hyperseg.model import HypersegModel
from hyperseg_runtime.families.hyperseg.prompts import Task, build_prompt
from hyperseg_runtime.families.hyperseg.stages import FVP_TOKENS
from hyperseg_runtime.heads.full_size import full_size, sigmoid
from hyperseg_runtime.heads.merging import shared_out
from hyperseg_runtime.heads.referring import best_query
from hyperseg_runtime.images.preprocessing import longest_side_square, plain_square, square_geometry
from hyperseg_runtime.images.reading import load_image
from hyperseg_runtime.llm.prompt import IMAGE, SlotKind
from hyperseg_runtime.session.pipeline import OpenedGraphs, Pipeline

TEXT = "the cup of coffee"
TEXTS = (TEXT, "a spoon", "the table")


@pytest.fixture
def model(bundle: Bundle, graphs: OpenedGraphs) -> HypersegModel:
    return HypersegModel(bundle, graphs, OnnxRuntimeBackend(threads=1))


def by_hand(model: HypersegModel, frames: list[np.ndarray]) -> Iterator[tuple[np.ndarray, float]]:
    stages, upload = model.stages, OnnxRuntimeBackend(threads=1).upload
    prompt = build_prompt(Task.VIDEO, TEXT, model.tokenizer, model.dims)
    latents = stages.first_latents(1)
    for frame in frames:
        pixels, geometry = longest_side_square(frame, model.dims.image_px)
        features = stages.perceive(upload(pixels[None]), latents)
        tokens = stages.clip_tokens(upload(plain_square(frame, model.dims.clip_image_px)[None]))
        embeds = stages.input_embeddings(
            [prompt], {(SlotKind.IMAGE, IMAGE): tokens, (SlotKind.PERCEIVER, IMAGE): features[FVP_TOKENS]}
        )
        hidden = stages.prefill(embeds, [prompt.length], stages.new_caches(1))
        outputs = stages.decode_frame(features, hidden, [prompt])
        best = best_query(outputs.mask_logits.to_host()[0], outputs.score_logits.to_host()[0, :, 0], geometry)
        yield best.mask, best.score
        latents = outputs.memory


def test_frames_follow_the_definition(pipeline: Pipeline, model: HypersegModel, coffee: Path) -> None:
    photo = load_image(coffee)
    frames = [photo[:, start : start + 400] for start in (0, 60, 120)]  # a camera that moves to the right
    video = pipeline.open_video()
    for frame, (mask, score) in zip(frames, by_hand(model, frames), strict=True):
        ((result,),) = (ready.results for ready in video.push(frame, [TEXT]))
        assert isinstance(result, Instances)
        assert np.array_equal(result.mask, mask) and abs(result.score - score) <= SAME_SCORE


def seen(model: HypersegModel, frames: list[np.ndarray], task: str) -> list[list[Instances]]:
    video = model.open_video()
    ready = [one for frame in frames for one in video.push(frame, Expressions(TEXTS, task))]
    return [[result for result in one.results if isinstance(result, Instances)] for one in ready]


def test_objects_share_the_pixels_out(bundle: Bundle, graphs: OpenedGraphs, coffee: Path) -> None:
    """What the masks are merged to changes neither scores nor the memory."""
    recorded = RecordingGraphs(graphs)
    model = HypersegModel(bundle, recorded, OnnxRuntimeBackend(threads=1))
    photo = load_image(coffee)[:200]
    frames = [photo[:, start : start + 200] for start in (0, 60)]
    plain, hard, soft = (seen(model, frames, task) for task in ("video", "video objects in order", "video objects"))
    geometry = square_geometry(*frames[0].shape[:2], model.dims.image_px)
    calls = iter(recorded.calls["mask_decoder"][-len(TEXTS) * len(frames) :])
    for alone, painted, shared in zip(plain, hard, soft, strict=True):
        assert {one.task for one in shared} == {"video objects"} and len(shared) == len(TEXTS)
        for merged in (painted, shared):
            assert np.sum([one.mask for one in merged], axis=0).max() <= 1, "no pixel twice"
            assert [one.score for one in merged] == [one.score for one in alone]
        assert np.array_equal(painted[2].mask, alone[2].mask)
        assert np.array_equal(painted[0].mask, alone[0].mask & ~alone[1].mask & ~alone[2].mask)
        logits = [next(calls).outputs["mask_logits"][0, one.instance_details[0]["query"]] for one in shared]
        probabilities = [sigmoid(full_size(one, geometry)).astype(np.float32) for one in logits]
        numbers = shared_out(np.stack(probabilities))
        assert all(np.array_equal(one.mask, numbers == place) for place, one in enumerate(shared, 1))
    assert any((one.mask != other.mask).any() for one, other in zip(soft[0], plain[0], strict=True))
    model.close()
