"""Several requests at once: counted on the double is what has been handed over when."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread, current_thread
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hyperseg_runtime.backends.cuda.memory import Block
from hyperseg_runtime.contracts.results import Instances
from hyperseg_runtime.images.reading import load_image
from hyperseg_runtime.session import pipeline as pipeline_module
from hyperseg_runtime.session.pipeline import Pipeline

LONG_S = 60
FIRST, SECOND = "a x", "a z"
GRAPHS = 8
"""Of a segmentation: all nine but the head of the language model."""


@pytest.fixture
def engines(gpu: ModuleType, engine_bundle: Path) -> Iterator[Pipeline]:
    with Pipeline.load(engine_bundle, "tensorrt", cache_bytes=0) as opened:
        yield opened


class FirstOneWaits:
    """The host's first wait takes until a second request has come as far."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: Any) -> None:
        self.waits, self.second_came = Event(), Event()
        self.handed_over: dict[str, int] = {}
        wait = Block.wait_until_idle

        def patient(block: Block) -> None:
            if current_thread().name == "first":
                self.waits.set()
                assert self.second_came.wait(LONG_S), "nobody else got a turn"
            elif current_thread().name == "second" and not self.second_came.is_set():
                self.handed_over = count()
                self.second_came.set()
            wait(block)

        monkeypatch.setattr(Block, "wait_until_idle", patient)


def test_a_second_request_is_handed_over_while_the_first_is_waited_for(
    engines: Pipeline, coffee: Path, gpu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = load_image(coffee)
    images = {"first": photo, "second": np.roll(photo, 40, axis=1)}
    texts = {"first": FIRST, "second": SECOND}
    alone = {name: engines(images[name], texts[name]) for name in images}
    found: dict[str, Instances] = {}

    def ask(name: str) -> None:
        found[name] = engines(images[name], texts[name])

    def calls() -> dict[str, int]:
        return {"graphs": gpu.GPU.ledger.enqueues + gpu.GPU.ledger.replays}

    pace = FirstOneWaits(monkeypatch, calls)
    gpu.GPU.ledger = gpu.Ledger()
    threads = {name: Thread(target=ask, args=(name,), name=name) for name in images}
    threads["first"].start()
    assert pace.waits.wait(LONG_S)
    assert calls() == {"graphs": GRAPHS}
    threads["second"].start()
    for thread in threads.values():
        thread.join(LONG_S)
    assert pace.handed_over == {"graphs": 2 * GRAPHS}  # encoders, language model, masks: all behind the first one's
    for name, made in found.items():
        assert np.array_equal(made.masks, alone[name].masks) and np.array_equal(made.scores, alone[name].scores)


def test_requests_about_one_image_keep_their_order(
    engines: Pipeline, coffee: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They share caches: the second begins when the first has seen that its rows are numbers."""
    with engines.open(coffee) as session:
        expected = {text: session.segment(text) for text in (FIRST, SECOND)}
        found: dict[str, Instances] = {}
        threads = [Thread(target=lambda text=text: found.update({text: session.segment(text)})) for text in expected]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG_S)
    assert all(np.array_equal(found[text].masks, expected[text].masks) for text in expected)


def test_closing_waits_for_what_is_in_flight(
    gpu: ModuleType, engine_bundle: Path, coffee: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Pipeline.load(engine_bundle, "tensorrt", cache_bytes=0)
    found: list[Instances] = []
    pace = FirstOneWaits(monkeypatch, dict)
    request = Thread(target=lambda: found.append(opened(coffee, FIRST)), name="first")
    request.start()
    assert pace.waits.wait(LONG_S)
    closing = Thread(target=opened.close)
    closing.start()
    closing.join(0.1)
    assert closing.is_alive()
    pace.second_came.set()
    for thread in (request, closing):
        thread.join(LONG_S)
    assert found[0].masks.any() and gpu.GPU.memory["device"].live_bytes == 0


def test_images_are_decoded_while_another_request_has_the_turn(
    engines: Pipeline, coffee: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = Event()

    def noted(*arguments: Any) -> np.ndarray:
        pixels = load_image(*arguments)
        decoded.set()
        return pixels

    monkeypatch.setattr(pipeline_module, "load_image", noted)
    with engines._shared.turn.held():
        opening = Thread(target=lambda: engines.open(coffee).close())
        opening.start()
        assert decoded.wait(LONG_S)
        assert opening.is_alive()  # it cannot begin, but its pixels are there
    opening.join(LONG_S)
