"""A bundle on a CPU whose graph calls are counted and timed."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from hyperseg_runtime.backends.base import Buffer, Graph
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.session.pipeline import Pipeline


class Call(NamedTuple):
    graph: str
    start_s: float  # of `perf_counter`
    end_s: float


class Spent(NamedTuple):
    seconds: float
    calls: dict[str, int]  # by the name of the graph


class _WatchedGraph:
    def __init__(self, graph: Graph, calls: list[Call]) -> None:
        self.spec = graph.spec
        self._graph = graph
        self._calls = calls

    def run(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        start = perf_counter()
        made = self._graph.run(inputs)
        self._calls.append(Call(self.spec.name, start, perf_counter()))
        return made


class WatchedBackend(OnnxRuntimeBackend):
    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.calls: list[Call] = []

    def open(self, spec: GraphSpec, path: Path) -> Graph:
        return _WatchedGraph(super().open(spec, path), self.calls)


class CountedPipeline(Pipeline):
    """Remembers no image: whoever opens one anew has all of it computed anew."""

    def __init__(self, folder: Path, threads: int) -> None:
        self.watched = WatchedBackend(threads)
        super().__init__(Bundle.open(folder), self.watched, cache_bytes=0)

    def spent(self, work: Callable[[], object]) -> Spent:
        """Wall time of some work and its calls, which `watched.calls` holds until the next."""
        self.watched.calls.clear()
        start = perf_counter()
        work()
        seconds = perf_counter() - start
        return Spent(seconds, dict(sorted(Counter(call.graph for call in self.watched.calls).items())))
