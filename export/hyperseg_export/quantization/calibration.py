"""Ranges of activations from real requests, in steps that survive a kill."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from hyperseg_bench.quality.answering import answered
from hyperseg_bench.quality.datasets.registry import Choice
from hyperseg_bench.quality.samples import DataSet
from hyperseg_export.jobs.staging import RECORDS, Staging, content_key
from hyperseg_export.quantization.magnitudes import Magnitudes
from hyperseg_export.quantization.observing import Observed, ObservingBackend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.bundle.quantization import CalibrationEntry
from hyperseg_runtime.contracts.requests import Question, Request
from hyperseg_runtime.session.pipeline import Pipeline

Tell = Callable[[str, int, int], None]
"""What runs now, samples done, samples in all."""
FOLDER = f"{RECORDS}/calibration"
KINDS = ("counts", "extent", "channel_max")


class Observer:
    """Asks samples of a bundle, which is opened for the first that was not asked yet."""

    def __init__(self, bundle: Bundle, data: DataSet, requests: Sequence[Request]) -> None:
        self._bundle = bundle
        self._data = data
        self._requests = requests
        self._backend = ObservingBackend()
        self._opened = ExitStack()
        self._pipeline: Pipeline | None = None

    def ask(self, key: str, tell: Callable[[str], None]) -> ObservingBackend:
        """What the sample `key` alone showed; `tell` gets the name of each graph that runs."""
        pipeline = self._pipeline = self._pipeline or self._opened.enter_context(
            Pipeline(self._bundle, self._backend, cache_bytes=0)
        )
        self._backend.begin(tell)
        sample = self._data.sample(key)
        answered(pipeline, sample)
        with pipeline.open(sample.frames[0]) as session:
            for request in self._requests:
                if isinstance(request, Question):
                    session.ask(request).finished()
                else:
                    session.run(request)
        return self._backend

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()


def calibrate(
    bundle: Bundle,
    data: DataSet,
    keys: Sequence[str],
    choice: Choice,
    requests: Sequence[Request],
    staging: Staging,
    tell: Tell = lambda name, done, of: None,
) -> tuple[Observed, CalibrationEntry]:
    """Ask the samples `keys` of `data` everything it asks, and `requests` about each, of the bundle itself.

    Only what the requests show is kept, in memory and in the steps of `staging`: see `observing`. Raises NumericsError.
    """
    observed: Observed = {}
    calls: dict[str, int] = {}
    about = (hashlib.sha256(bundle.manifest.to_bytes()).hexdigest(), choice.told())
    with Observer(bundle, data, requests) as observer:
        for done, sample in enumerate(keys):
            running = partial(_tell_graph, tell, done, len(keys))
            found, count = _step(observer, staging, f"calibration-{done:04}", sample, about, running)
            for graph, activations in found.items():
                mine = observed.setdefault(graph, {})
                for activation, made in activations.items():
                    mine[activation] = mine[activation].joined(made) if activation in mine else made
            for graph, more in count.items():
                calls[graph] = calls.get(graph, 0) + more
            tell("samples", done + 1, len(keys))
    return observed, CalibrationEntry(
        data_set=choice.name, split=choice.split, samples=len(keys), calls=calls, sha256=_digest(observed)
    )


def _tell_graph(tell: Tell, done: int, of: int, graph: str) -> None:
    tell(f"{graph} runs; samples", done, of)


def _step(
    observer: Observer,
    staging: Staging,
    name: str,
    sample: str,
    about: tuple[Any, ...],
    tell: Callable[[str], None],
) -> tuple[Observed, dict[str, int]]:
    """What one sample shows, and how often it calls which graph; from the folder if it was asked before."""

    def work(folder: Path) -> tuple[Iterable[str], dict[str, Any]]:
        backend = observer.ask(sample, tell)
        path = folder / FOLDER / f"{name}.npz"
        path.parent.mkdir(exist_ok=True)
        _write(path, backend.observed)
        return [f"{FOLDER}/{path.name}"], {"calls": backend.calls}

    result = staging.run(name, content_key(name, *about, [sample]), work)
    return _read(staging.directory / FOLDER / f"{name}.npz"), result.facts["calls"]


def _write(path: Path, observed: Observed) -> None:
    arrays = {
        f"{graph}/{kind}/{name}": np.asarray(getattr(found, kind))
        for graph, activations in observed.items()
        for name, found in activations.items()
        for kind in KINDS
    }
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for its own options


def _read(path: Path) -> Observed:
    found: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    with np.load(path) as file:
        for entry in file.files:
            graph, kind, name = entry.split("/", 2)
            found.setdefault(graph, {}).setdefault(name, {})[kind] = file[entry]
    return {
        graph: {
            name: Magnitudes(parts["counts"], float(parts["extent"]), parts["channel_max"])
            for name, parts in activations.items()
        }
        for graph, activations in found.items()
    }


def _digest(observed: Mapping[str, Mapping[str, Magnitudes]]) -> str:
    digest = hashlib.sha256()
    for graph in sorted(observed):
        for name, found in sorted(observed[graph].items()):
            digest.update(f"{graph}/{name}/{found.extent}".encode())
            digest.update(found.counts.astype(np.int64).tobytes() + found.channel_max.tobytes())
    return digest.hexdigest()
