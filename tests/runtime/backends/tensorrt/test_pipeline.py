"""The whole pipeline on engines: what ONNX Runtime gives, to the last pixel and token.

Scores are means of sigmoids, which a device adds up in float32 and in another order than the host.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.backends.tensorrt import TensorRTBackend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.results import Instances, Result
from hyperseg_runtime.errors import InputError
from hyperseg_runtime.images.reading import load_image
from hyperseg_runtime.session.image_session import ImageSession
from hyperseg_runtime.session.pipeline import Pipeline
from support import RunCli

TEXTS = ["the cup", "a spoon on the saucer", "the table"]


@pytest.fixture
def engines(gpu: ModuleType, engine_bundle: Path) -> Iterator[Pipeline]:
    with Pipeline.load(engine_bundle, "tensorrt") as opened:
        yield opened


@pytest.fixture(scope="module")
def pipeline(tiny_bundle: Path) -> Iterator[Pipeline]:
    """ONNX Runtime, in calls of as many rows and slots as engines get: products of other sizes round otherwise."""

    class Filled(OnnxRuntimeBackend):
        token_step, slot_step = TensorRTBackend.token_step, TensorRTBackend.slot_step

    with Pipeline(Bundle.open(tiny_bundle), Filled(threads=1), cache_bytes=0) as opened:
        yield opened


def assert_same(found: Sequence[Result], expected: Sequence[Result]) -> None:
    for made, wanted in zip(found, expected, strict=True):
        assert isinstance(made, Instances) and isinstance(wanted, Instances)
        assert int(np.count_nonzero(made.masks != wanted.masks)) == 0
        assert np.abs(made.scores - wanted.scores).max() <= 1e-6
        assert (made.asked, made.labels) == (wanted.asked, wanted.labels)
        for key in ("prompt_tokens", "reused_tokens"):
            assert made.details[key] == wanted.details[key]
        assert made.instance_details == wanted.instance_details


def classes(session: ImageSession) -> Instances:
    found = session.segment_classes(TEXTS)
    assert isinstance(found, Instances)
    return found


def test_every_request_gives_what_onnx_runtime_gives(
    engines: Pipeline, pipeline: Pipeline, coffee: Path, gpu: ModuleType
) -> None:
    """First and second expression, several packed into one call, a question in between, names, text alone."""
    with engines.open(coffee) as ours, pipeline.open(coffee) as theirs:
        for text in TEXTS[:2]:
            assert_same([ours.segment(text)], [theirs.segment(text)])
        answers = [session.ask("What is on the table?", max_tokens=6).finished() for session in (ours, theirs)]
        assert answers[0].token_ids == answers[1].token_ids
        assert gpu.GPU.ledger.replays > 0  # single tokens are replayed
        assert_same(ours.segment_many(TEXTS), theirs.segment_many(TEXTS))
        assert_same([classes(ours)], [classes(theirs)])
        assert_same([ours.segment(TEXTS[0], "reasoning")], [theirs.segment(TEXTS[0], "reasoning")])
    with engines.open(None) as ours, pipeline.open(None) as theirs:
        answers = [session.ask("Who are you?", max_tokens=3).finished() for session in (ours, theirs)]
        assert answers[0].token_ids == answers[1].token_ids


def test_a_video_remembers_what_it_does_in_onnx_runtime(engines: Pipeline, pipeline: Pipeline, coffee: Path) -> None:
    frame = load_image(coffee)
    ours, theirs = engines.open_video(), pipeline.open_video()
    for shift in (0, 40):
        moved = np.roll(frame, shift, axis=1)
        found, expected = (list(video.push(moved, TEXTS[:1])[0].results) for video in (ours, theirs))
        assert_same(found, expected)


def test_features_are_never_brought_to_the_host(
    engines: Pipeline, coffee: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only whether all are numbers, the query, its score, and one bit per pixel."""
    from hyperseg_runtime.backends.cuda.device import Device, DeviceBuffer

    shapes = []
    to_host = Device.to_host

    def noted(self: Device, buffers: Sequence[DeviceBuffer]) -> list[np.ndarray]:
        shapes.extend(buffer.shape for buffer in buffers)
        return to_host(self, buffers)

    monkeypatch.setattr(Device, "to_host", noted)
    engines(coffee, TEXTS[0])
    assert shapes == [(1,), (1, 1), (1, 1), (1, 1, 400, 75)]


def test_graphs_that_do_not_need_each_other_run_side_by_side(
    engines: Pipeline, coffee: Path, gpu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the language model is done, the pixel decoder need not be."""
    done: dict[str, bool] = {}
    stages: Any = type(engines._shared.model.stages)
    step = stages.step

    def watched(self: Any, *arguments: object) -> object:
        hidden = step(self, *arguments)
        hidden.to_host()
        for name in ("clip_encoder", "fvp", "pixel_decoder"):
            stream = gpu.GPU.get(self._graphs[name].stream.handle, gpu.Stream)
            done[name] = not any(work for work in stream.pending)
        return hidden

    monkeypatch.setattr(stages, "step", watched)
    engines(coffee, TEXTS[0])
    assert done["pixel_decoder"] is False


def test_other_texts_about_other_images_are_replayed(engine_bundle: Path, coffee: Path, gpu: ModuleType) -> None:
    """Rows are filled up to sizes that come again, and caches of an image that is gone keep their addresses."""
    frame = load_image(coffee)
    with Pipeline.load(engine_bundle, "tensorrt", cache_bytes=0) as opened:
        stages: Any = opened._shared.model.stages
        for number, text in enumerate(("the cup", "a spoon", "the cup of coffee", "tea", "a table")):
            opened(np.roll(frame, 8 * number, axis=1), text)
        assert {name: stages._graphs[name].replayed for name in ("llm", "mask_decoder")} == {
            "llm": 3,
            "mask_decoder": 3,
        }


def test_a_closed_pipeline_leaves_nothing_behind(engine_bundle: Path, coffee: Path, gpu: ModuleType) -> None:
    """Also while a session and its results are still held."""
    with Pipeline.load(engine_bundle, "tensorrt") as opened:
        session = opened.open(coffee)
        result = session.segment(TEXTS[0])
    assert gpu.GPU.memory["device"].live_bytes == 0 and result.mask.any()
    with pytest.raises(InputError, match="closed"):
        session.segment(TEXTS[0])


def test_images_share_the_memory_of_those_before(engine_bundle: Path, coffee: Path, gpu: ModuleType) -> None:
    with Pipeline.load(engine_bundle, "tensorrt", cache_bytes=0) as opened:
        sizes = []
        for _ in range(4):
            opened(coffee, TEXTS[0])
            sizes.append(gpu.GPU.memory["device"].live_bytes)
    assert sizes[3] == sizes[2]  # up to then calls are recorded, which takes memory once


@pytest.mark.usefixtures("gpu")
def test_the_verbs_run_on_engines(engine_bundle: Path, run_cli: RunCli, coffee: Path, tmp_path: Path) -> None:
    outputs = {}
    for backend in ("onnxruntime", "tensorrt"):
        out = tmp_path / backend
        result = run_cli("run", engine_bundle, coffee, TEXTS[0], "--backend", backend, "--out", out)
        assert result.code == 0, result.err
        answer = run_cli("chat", engine_bundle, coffee, "What is it?", "--max-tokens", 3, "--backend", backend)
        outputs[backend] = ((out / "coffee.jpg.mask.png").read_bytes(), answer.out)
    assert outputs["onnxruntime"] == outputs["tensorrt"]


def test_threads_share_one_pipeline(engines: Pipeline, pipeline: Pipeline, coffee: Path) -> None:
    """Their calls take turns; results and memory are those of one after the other."""
    expected = [pipeline(coffee, text) for text in TEXTS]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda text: engines(coffee, text), TEXTS * 2))
    for made, wanted in zip(found, expected * 2, strict=True):  # which call finds what another left is not said
        assert np.array_equal(made.masks, wanted.masks) and np.abs(made.scores - wanted.scores).max() <= 1e-6
