"""The device ledger: what our code asks of a GPU for one image, expression, frame or token, counted by the double.

Counted is the second call of its kind with as many tokens as the first, as a server meets it: contexts have their
shapes, memory is pooled, what is recorded is recorded. What happens inside an engine is not seen.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from hyperseg_runtime.session.pipeline import Pipeline

Count = Callable[[Callable[[], object]], dict[str, int]]
FIRST, SECOND = "a x", "a z"
NUMBERS_BYTES = 13
"""Beside the mask's bits: score and index of the best query, 4 and 8 bytes, and whether all is finite."""


@pytest.fixture
def engines(gpu: ModuleType, engine_bundle: Path) -> Iterator[Pipeline]:
    with Pipeline.load(engine_bundle, "tensorrt", cache_bytes=0) as opened:
        yield opened


@pytest.fixture
def count(gpu: ModuleType) -> Count:
    def counted(work: Callable[[], object]) -> dict[str, int]:
        gpu.GPU.ledger = gpu.Ledger()
        work()
        return {name: number for name, number in asdict(gpu.GPU.ledger).items() if number}

    return counted


def images(coffee: Path, number: int) -> list[np.ndarray]:
    """Different pixels, 1024 x 1024."""
    image = np.array(Image.open(coffee).convert("RGB").resize((1024, 1024)))
    return [np.roll(image, 7 * shift, axis=1) for shift in range(number)]


def test_a_new_image_with_its_expression(engines: Pipeline, count: Count, coffee: Path) -> None:
    *seen, new = images(coffee, 4)
    for image in seen:
        engines(image, FIRST)
    assert count(lambda: engines(new, SECOND)) == {
        "replays": 8,
        "uploads": 13,
        "upload_bytes": 3 * 1024 * 1024 + 43_632,  # the image as it is, once
        "downloads": 4,
        "download_bytes": 1024 * 1024 // 8 + NUMBERS_BYTES,
        "device_copies": 80,
        "memsets": 1,
        "synchronisations": 1,
    }


def test_the_next_expression(engines: Pipeline, count: Count, coffee: Path) -> None:
    with engines.open(coffee) as session:
        for text in (FIRST, SECOND) * 2:
            session.segment(text)
        counted = count(lambda: session.segment(FIRST))
    assert counted == {
        "replays": 3,  # language model, mask decoder, readout: nothing of the image's side
        "uploads": 9,
        "upload_bytes": 9_392,
        "downloads": 4,
        "download_bytes": 600 * 400 // 8 + NUMBERS_BYTES,
        "device_copies": 37,
        "memsets": 1,
        "synchronisations": 1,
    }


def test_a_frame_of_a_video(engines: Pipeline, count: Count, coffee: Path) -> None:
    *seen, new = images(coffee, 4)
    video = engines.open_video()
    for frame in seen:
        video.push(frame, [FIRST])
    assert count(lambda: video.push(new, [SECOND])) == {
        "replays": 8,
        "uploads": 13,
        "upload_bytes": 3 * 1024 * 1024 + 45_960,
        "downloads": 4,
        "download_bytes": 1024 * 1024 // 8 + NUMBERS_BYTES,
        "device_copies": 80,
        "memsets": 1,
        "synchronisations": 1,
    }


def test_a_token_of_an_answer(engines: Pipeline, count: Count, coffee: Path) -> None:
    with engines.open(coffee) as session:
        answer = session.ask("What is on the table?", max_tokens=8)
        for _ in range(5):
            next(answer)
        assert count(lambda: next(answer)) == {
            "replays": 1,  # language model and its head together
            "uploads": 4,
            "upload_bytes": 368,  # its embedding, where it stands and what it sees
            "downloads": 1,
            "download_bytes": 2_048,  # logits of one token
            "device_copies": 7,
            "synchronisations": 1,
        }
