"""What the graphs of a bundle compute in ONNX Runtime on real requests, saved for engines to be compared with."""

import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hyperseg_export.onnx.upcast import upcast
from hyperseg_export.parity.recording import Arrays, Call
from hyperseg_runtime.backends.base import Backend, Buffer, Graph
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.manifest import Manifest
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.contracts.precision import Precision, typed_spec
from hyperseg_runtime.families.family import warm_up
from hyperseg_runtime.images.reading import ImageSource, load_image
from hyperseg_runtime.session.pipeline import family_of

CALLS = 5
"""Calls that a graph gets from a family's warm-up; of a language model, which gets the most."""


def record_calls(bundle: Bundle, graphs: Collection[str], image: ImageSource, folder: Path) -> None:
    """Answer requests about a photograph with ONNX Runtime; each call of the named `graphs` becomes a file in `folder`.

    The family's warm-up is what callers ask: a language model reads whole prompts, suffixes behind kept rows and
    single tokens, so that every profile of its engine is used. Typed graphs run in float32 arithmetic (see `upcast`).
    """
    with OnnxRuntimeBackend() as backend:
        opened = _ReferenceGraphs(bundle, graphs, folder, backend)
        family = family_of(bundle)
        model = family.open_model(bundle, opened, backend)
        pixels = load_image(image)
        model.exercise(pixels)
        warm_up(family, model, model.open(pixels))


def reference_bytes(manifest: Manifest, graphs: Collection[str]) -> int:
    """About what `record_calls` leaves in its folder: float32 copies of typed graphs, and calls, mostly caches."""
    if not graphs:
        return 0
    typed = (entry for entry in manifest.graphs if entry.precision is not Precision.FP32)
    saved = (entry.spec for entry in manifest.graphs if entry.spec.name in graphs)
    return sum(4 * entry.parameters for entry in typed) + CALLS * sum(map(_call_bytes, saved))


def _call_bytes(spec: GraphSpec) -> int:
    """Inputs and outputs of a typical call in float32."""
    sizes: Mapping[str, int] = {axis: limits.typical for axis, limits in spec.axis_ranges.items()}
    tensors = (*spec.inputs, *spec.outputs)
    return sum(4 * math.prod(tensor.shape(sizes)) for tensor in tensors)


def read_calls(folder: Path, graph: str) -> Iterator[Call]:
    """The calls of one graph, one after the other."""
    for path in sorted(folder.glob(f"{graph}.*.npz")):
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        yield Call(_side(arrays, "in."), _side(arrays, "out."))


def _side(arrays: Arrays, prefix: str) -> Arrays:
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}


class _ReferenceGraphs(Mapping[str, Graph]):
    """The bundle's graphs in float32 arithmetic, opened when first asked for; calls of some are saved."""

    def __init__(self, bundle: Bundle, saved: Collection[str], folder: Path, backend: Backend) -> None:
        self._bundle = bundle
        self._saved = saved
        self._folder = folder
        self._backend = backend
        self._opened: dict[str, Graph] = {}

    def __getitem__(self, name: str) -> Graph:
        if name not in self._opened:
            graph = self._open(name)
            self._opened[name] = SavingGraph(graph, self._folder) if name in self._saved else graph
        return self._opened[name]

    def _open(self, name: str) -> Graph:
        entry = self._bundle.manifest.graph(name)
        path = self._bundle.path(entry.file)
        if entry.precision is not Precision.FP32:
            wide = self._folder / path.name
            upcast(path, wide)
            path = wide
        return self._backend.open(typed_spec(entry.spec, Precision.FP32), path)

    def __iter__(self) -> Iterator[str]:
        return (entry.spec.name for entry in self._bundle.manifest.graphs)

    def __len__(self) -> int:
        return len(self._bundle.manifest.graphs)


class SavingGraph:
    """A graph whose calls are written to files: inputs before in-place updates, and outputs."""

    def __init__(self, graph: Graph, folder: Path) -> None:
        self.spec = graph.spec
        self._graph = graph
        self._folder = folder
        self._count = 0

    def run(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        before = {f"in.{name}": buffer.to_host().copy() for name, buffer in inputs.items()}
        outputs = self._graph.run(inputs)
        after = {f"out.{name}": buffer.to_host() for name, buffer in outputs.items()}
        arrays: dict[str, Any] = {**before, **after}
        np.savez(self._folder / f"{self.spec.name}.{self._count:03}.npz", **arrays)
        self._count += 1
        return outputs
