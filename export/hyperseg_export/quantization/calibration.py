"""Ranges of activations from real requests, in steps that survive a kill."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

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

CHUNK = 4
"""Samples of one step: what a kill costs."""
FOLDER = f"{RECORDS}/calibration"
KINDS = ("counts", "extent", "channel_max")


def calibrate(
    bundle: Bundle,
    data: DataSet,
    keys: Sequence[str],
    choice: Choice,
    requests: Sequence[Request],
    staging: Staging,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> tuple[Observed, CalibrationEntry]:
    """Ask the samples `keys` of `data` everything it asks, and `requests` about each, of the bundle itself.

    Only what the requests show is kept, in memory and in the steps of `staging`: see `observing`. Raises NumericsError.
    """
    observed: Observed = {}
    calls: dict[str, int] = {}
    for start in range(0, len(keys), CHUNK):
        chunk = keys[start : start + CHUNK]
        name = f"calibration-{start // CHUNK:04}"

        def work(folder: Path, chunk: Sequence[str] = chunk, name: str = name) -> tuple[Iterable[str], dict[str, Any]]:
            backend = _observe(bundle, data, chunk, requests)
            path = folder / FOLDER / f"{name}.npz"
            path.parent.mkdir(exist_ok=True)
            _write(path, backend.observed)
            return [f"{FOLDER}/{path.name}"], {"calls": backend.calls}

        key = content_key(name, hashlib.sha256(bundle.manifest.to_bytes()).hexdigest(), choice.told(), list(chunk))
        result = staging.run(name, key, work)
        for graph, found in _read(staging.directory / FOLDER / f"{name}.npz").items():
            mine = observed.setdefault(graph, {})
            for activation, made in found.items():
                mine[activation] = mine[activation].joined(made) if activation in mine else made
        for graph, count in result.facts["calls"].items():
            calls[graph] = calls.get(graph, 0) + count
        tell(min(start + CHUNK, len(keys)), len(keys))
    return observed, CalibrationEntry(
        data_set=choice.name, split=choice.split, samples=len(keys), calls=calls, sha256=_digest(observed)
    )


def _observe(bundle: Bundle, data: DataSet, keys: Sequence[str], requests: Sequence[Request]) -> ObservingBackend:
    backend = ObservingBackend()
    with Pipeline(bundle, backend, cache_bytes=0) as pipeline:
        for key in keys:
            sample = data.sample(key)
            answered(pipeline, sample)
            with pipeline.open(sample.frames[0]) as session:
                for request in requests:
                    if isinstance(request, Question):
                        session.ask(request).finished()
                    else:
                        session.run(request)
    return backend


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
