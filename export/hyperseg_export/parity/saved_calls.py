"""Calls of graphs on disk: written as they happen, read one at a time and page by page, since the caches of a language
model are large. What every comparison with a graph starts from, of modules and of engines.
"""

import math
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import numpy as np

from hyperseg_export.parity.recording import Arrays, Call
from hyperseg_runtime.backends.base import Buffer, Graph
from hyperseg_runtime.contracts.graph_spec import GraphSpec, TensorSpec

INPUTS, OUTPUTS = "in", "out"
NUMBER = "[0-9]" * 3


class SavingGraphs(Mapping[str, Graph]):
    """The given graphs; the calls of those in `saved` become folders in `folder`. `begins` is told of each."""

    def __init__(
        self,
        graphs: Mapping[str, Graph],
        folder: Path,
        saved: Collection[str],
        begins: Callable[[str], None] = lambda graph: None,
    ) -> None:
        self._graphs = graphs
        self._folder = folder
        self._saved = saved
        self._begins = begins

    def __getitem__(self, name: str) -> Graph:
        graph = self._graphs[name]
        return SavingGraph(graph, self._folder, self._begins) if name in self._saved else graph

    def __iter__(self) -> Iterator[str]:
        return iter(self._graphs)

    def __len__(self) -> int:
        return len(self._graphs)


class SavingGraph:
    """A graph whose calls are written: inputs before in-place updates, and outputs."""

    def __init__(self, graph: Graph, folder: Path, begins: Callable[[str], None]) -> None:
        self.spec = graph.spec
        self._graph = graph
        self._folder = folder
        self._begins = begins

    def run(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        self._begins(self.spec.name)
        number = len(list(self._folder.glob(f"{self.spec.name}.{NUMBER}")))
        call = self._folder / f"{self.spec.name}.{number:03}"
        _write(call / INPUTS, inputs)
        outputs = self._graph.run(inputs)
        _write(call / OUTPUTS, outputs)
        return outputs


def read_calls(folder: Path, graph: str) -> Iterator[Call]:
    """The calls of one graph, one after the other; arrays are pages of their files and may be written to, which changes
    no file.
    """
    for call in sorted(folder.glob(f"{graph}.{NUMBER}")):
        yield Call(_read(call / INPUTS), _read(call / OUTPUTS))


def forget_calls(folder: Path, graph: str) -> None:
    """Give the disk of one graph's calls back."""
    for call in folder.glob(f"{graph}.{NUMBER}"):
        shutil.rmtree(call)


def call_bytes(spec: GraphSpec) -> tuple[int, int]:
    """Bytes of a typical call in float32: of its caches, before and after it, and of everything else."""
    sizes = {axis: limits.typical for axis, limits in spec.axis_ranges.items()}
    kept = {*spec.in_place, *spec.in_place.values()}

    def size(tensor: TensorSpec) -> int:
        return 4 * math.prod(tensor.shape(sizes))

    tensors = (*spec.inputs, *spec.outputs)
    caches = sum(size(tensor) for tensor in tensors if tensor.name in kept)
    return caches, sum(map(size, tensors)) - caches


def _write(folder: Path, buffers: Mapping[str, Buffer]) -> None:
    folder.mkdir(parents=True)
    for name, buffer in buffers.items():
        np.save(folder / f"{name}.npy", buffer.to_host(), allow_pickle=False)


def _read(folder: Path) -> Arrays:
    return {path.stem: np.load(path, mmap_mode="c") for path in sorted(folder.glob("*.npy"))}
