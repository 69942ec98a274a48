"""A bundle on a CPU whose graph calls are counted and timed, and what scripts that do so are told."""

import argparse
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from hyperseg_bench import measure
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


def arguments(about: str | None) -> argparse.ArgumentParser:
    """A bundle, and the conditions that go into the result file."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--size", required=True, help="Which model it is, in words; goes into the file.")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--load", default="nothing else ran", help="What else the machine does; goes into the file.")
    return parser


def store(name: str, options: argparse.Namespace, found: dict[str, Any]) -> Path:
    """Write the row of this size beside those of others."""
    conditions = {"threads": options.threads, "load": options.load, "precision": "fp32"}
    row = {"size": options.size, **found, "conditions": conditions}
    rows = measure.kept_rows(name, "rows", [row], ("size",))
    return measure.write_results(name, {"environment": measure.environment(), "rows": rows})
