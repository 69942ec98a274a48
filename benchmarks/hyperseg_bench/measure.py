"""What every benchmark needs: where it ran, how often, and one JSON file at the end."""

import json
import resource
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter, process_time, sleep
from typing import Any

from hyperseg_runtime.reports import machine

RESULTS = Path(__file__).parents[1] / "results"
PACKAGES = ("hyperseg-trt", "torch", "onnxruntime", "numpy")


LOOK_S, BUSY, PATIENCE_S = 0.005, 0.2, 1.0
"""How long this process is looked at, what share of a core it uses when it does something, and how long that is
waited for."""


def settle() -> None:
    """Wait until this process does nothing.

    OpenMP's workers, which are eager PyTorch's, ask for more work for some 10 ms when theirs is done; those of ONNX
    Runtime stop at once (see `cpu_defaults`). What is timed meanwhile would share the cores with whoever was timed
    before.
    """
    asked = perf_counter()
    while perf_counter() - asked < PATIENCE_S:
        start, used = perf_counter(), process_time()
        sleep(LOOK_S)
        if process_time() - used < BUSY * (perf_counter() - start):
            return


def environment() -> dict[str, Any]:
    """What the scripts' results say of where they were made."""
    return {**machine.environment(PACKAGES), "gpu": "none used"}


def alternate(rivals: Sequence[Callable[[], object]], rounds: int, warm_up: int = 1) -> list[list[float]]:
    """Seconds of each call, rivals in turn (A B A B ...), so that a drifting machine hits both alike; each begins when
    this process is idle.
    """
    for rival in rivals:
        for _ in range(warm_up):
            rival()
    samples: list[list[float]] = [[] for _ in rivals]
    for _ in range(rounds):
        for rival, seconds in zip(rivals, samples, strict=True):
            settle()
            start = perf_counter()
            rival()
            seconds.append(perf_counter() - start)
    return samples


def ratio(first: Sequence[float], second: Sequence[float]) -> float:
    """Median of the ratios of neighbouring samples, first / second."""
    return statistics.median(a / b for a, b in zip(first, second, strict=True))


def peak_bytes() -> int:
    """Largest resident size of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2) of each
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def write_results(name: str, content: dict[str, Any]) -> Path:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def stored(name: str) -> dict[str, Any]:
    """What `write_results` wrote."""
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return content


def kept_rows(name: str, field: str, new: Sequence[dict[str, Any]], keys: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a result file, `new` ones in place of those with the same `keys`: a run of a part keeps the rest."""
    path = RESULTS / f"{name}.json"
    old = json.loads(path.read_text())[field] if path.is_file() else []
    measured = {tuple(row[key] for key in keys) for row in new}
    return [*(row for row in old if tuple(row[key] for key in keys) not in measured), *new]
