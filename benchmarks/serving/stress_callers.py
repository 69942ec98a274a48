"""Callers of a stress test: what became of their requests, and what they ask."""

import io
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from PIL import Image
from stress_server import PAUSE_S, Up

from hyperseg_export.samples import sample_images
from hyperseg_runtime.errors import HypersegError, UnavailableError
from hyperseg_serving.client.canary import ask_canary, ask_live
from hyperseg_serving.client.client import Client


@dataclass
class Calls:
    """What became of requests, by kind of error, and seconds that each took."""

    answered_s: list[float] = field(default_factory=list)
    failed_s: dict[str, list[float]] = field(default_factory=dict)

    def call(self, ask: Callable[[], object]) -> bool:
        start = time.perf_counter()
        try:
            ask()
        except HypersegError as error:
            self.failed_s.setdefault(kind_of(error), []).append(time.perf_counter() - start)
            return False
        self.answered_s.append(time.perf_counter() - start)
        return True

    def summary(self) -> dict[str, Any]:
        failed = {kind: {"requests": len(spent), **percentiles(spent)} for kind, spent in self.failed_s.items()}
        return {"answered": len(self.answered_s), **percentiles(self.answered_s), "failed": failed}


def kind_of(error: HypersegError) -> str:
    """The identifier of a refusal, else what a caller sees."""
    text = str(error)
    return text.partition(":")[0] if text.startswith("E_") else f"{type(error).__name__}: {text.partition('[')[0][:60]}"


def percentiles(spent_s: list[float]) -> dict[str, float | None]:
    if not spent_s:
        return {"p50_ms": None, "p99_ms": None, "max_ms": None}
    ordered = sorted(spent_s)
    return {
        "p50_ms": round(statistics.median(ordered) * 1000, 1),
        "p99_ms": round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))] * 1000, 1),
        "max_ms": round(ordered[-1] * 1000, 1),
    }


def run_callers(caller: Callable[[int], None], count: int) -> None:
    with ThreadPoolExecutor(count) as pool:
        for done in [pool.submit(caller, number) for number in range(count)]:
            done.result()


def asking(up: Up, callers: int) -> tuple[Calls, Callable[[], None]]:
    """Callers who ask until they are told to stop; who is refused goes on after a pause."""
    calls, stop = Calls(), threading.Event()
    image = pictures(1, 0)[0]

    def caller(number: int) -> None:
        while not stop.is_set():
            try:
                with Client(up.grpc, timeout_s=30, family="hyperseg") as client:
                    while not stop.is_set():
                        if not calls.call(lambda: client.segment(image, [f"thing {number}"])):
                            break
            except UnavailableError:
                pass
            time.sleep(PAUSE_S)

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()

    def end() -> None:
        stop.set()
        for thread in threads:
            thread.join()

    return calls, end


class Watch:
    """Asks every second whether the server lives, and every five for a mask, as probes do."""

    def __init__(self, up: Up) -> None:
        self._up = up
        self._stop = threading.Event()
        self._live, self._canary = Calls(), Calls()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(1):
            self._live.call(lambda: ask_live(self._up.http, 10))
            if number % 5 == 0:
                self._canary.call(lambda: ask_canary(self._up.http, 10))
            number += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def summary(self) -> dict[str, Any]:
        return {"live": self._live.summary(), "canary": self._canary.summary()}


def pictures(count: int, first: int) -> list[bytes]:
    """JPEG files of one photograph, each shifted by another number of columns."""
    pixels = np.asarray(Image.open(sample_images()[1]).convert("RGB"))
    return [jpeg(Image.fromarray(np.roll(pixels, shift, axis=1))) for shift in range(first, first + count)]


def coarse_noise(height: int, width: int) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    return jpeg(Image.fromarray(pixels).resize((width, height)))


def jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()
