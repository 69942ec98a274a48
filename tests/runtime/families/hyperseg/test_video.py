"""Frames of a video against hyperseg-spec 7, graph call after graph call."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.families.hyperseg.model import HypersegModel
from hyperseg_runtime.families.hyperseg.prompts import Task, build_prompt
from hyperseg_runtime.families.hyperseg.stages import FVP_TOKENS
from hyperseg_runtime.heads.referring import best_query
from hyperseg_runtime.images.preprocessing import longest_side_square, plain_square
from hyperseg_runtime.images.reading import load_image
from hyperseg_runtime.llm.prompt import IMAGE, SlotKind
from hyperseg_runtime.session.pipeline import OpenedGraphs, Pipeline

TEXT = "the cup of coffee"
SCORE = 1e-5  # scores are between 0 and 1


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
        assert np.array_equal(result.mask, mask) and abs(result.score - score) <= SCORE
