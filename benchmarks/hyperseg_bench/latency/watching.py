"""A backend that is watched: which graph ran when, at what sizes, and what it needed of the graphs before it."""

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Self

import numpy as np

from hyperseg_runtime.backends.base import Backend, Buffer, Graph
from hyperseg_runtime.contracts.graph_spec import GraphSpec, TensorSpec


@dataclass(frozen=True)
class Call:
    """One call of a graph.

    sizes       of its named axes
    start_ms    since the request began
    enqueue_ms  until the call came back; the same as `ms` where it comes back when the work is done
    needs       earlier calls of the request (their numbers) whose results this one was handed, as far as they did not
                pass through the host's own arrays
    """

    graph: str
    sizes: Mapping[str, int]
    start_ms: float
    ms: float
    enqueue_ms: float
    needs: tuple[int, ...]


class WatchedBackend:
    """The given backend; `begin` starts a request, `calls` holds what ran since. It owns the backend and closes it.

    Nothing is added to what the backend does but a look at the clock; inside `waiting` every call is waited for, so
    that its time is its own. `overlaps` tells whether that makes a difference: calls come back before they are done.
    """

    def __init__(self, backend: Backend) -> None:
        self.name = backend.name
        self.precisions = backend.precisions
        self.token_step = backend.token_step
        self.slot_step = backend.slot_step
        self.on_device = backend.on_device
        self.images_on_device = backend.images_on_device
        self.inner = backend
        self.overlaps = False
        self._alone = False
        self.begin()

    def begin(self) -> None:
        self.calls: list[Call] = []
        self._start = perf_counter()
        self._from: dict[int, frozenset[int]] = {}
        """Identity of a buffer that is still there -> the calls it came from."""

    @contextmanager
    def waiting(self) -> Iterator[None]:
        self._alone = True
        try:
            yield
        finally:
            self._alone = False

    def open(self, spec: GraphSpec, path: Path) -> Graph:
        graph = self.inner.open(spec, path)
        self.overlaps = self.overlaps or hasattr(graph, "wait")
        return _WatchedGraph(self, graph)

    def chained(self, first: Graph, second: Graph) -> None:
        """Each is looked at by itself; a server's step of an answer takes a launch less."""

    def upload(self, array: np.ndarray) -> Buffer:
        return self.inner.upload(array)

    def zeros(self, spec: TensorSpec, sizes: Mapping[str, int]) -> Buffer:
        return self.inner.zeros(spec, sizes)

    def copy_rows(self, target: Buffer, batch: int, start: int, source: Buffer, source_batch: int) -> None:
        self._came_from(target, self._origin(target) | self._origin(source))
        self.inner.copy_rows(target, batch, start, source, source_batch)

    def to_host(self, buffers: Sequence[Buffer]) -> list[np.ndarray]:
        return self.inner.to_host(buffers)

    def ran(self, graph: Graph, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        """Run a call and remember it."""
        start = perf_counter()
        outputs = graph.run(inputs)
        back = perf_counter()
        if self._alone and (wait := getattr(graph, "wait", None)) is not None:
            wait()
        end = perf_counter()
        needs = frozenset[int]().union(*map(self._origin, inputs.values()))
        for buffer in outputs.values():
            self._came_from(buffer, frozenset({len(self.calls)}))
        sizes = graph.spec.sizes(inputs)
        begun, ms, enqueue = (1000 * seconds for seconds in (start - self._start, end - start, back - start))
        self.calls.append(Call(graph.spec.name, sizes, begun, ms, enqueue, tuple(sorted(needs))))
        return outputs

    def _origin(self, buffer: Buffer) -> frozenset[int]:
        return self._from.get(id(buffer), frozenset())

    def _came_from(self, buffer: Buffer, calls: frozenset[int]) -> None:
        if id(buffer) not in self._from:  # not held: its memory goes back as it would unwatched
            weakref.finalize(buffer, self._from.pop, id(buffer), None)
        self._from[id(buffer)] = calls

    def close(self) -> None:
        self.inner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _WatchedGraph:
    def __init__(self, backend: WatchedBackend, graph: Graph) -> None:
        self.spec = graph.spec
        self._backend = backend
        self._graph = graph

    def run(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        return self._backend.ran(self._graph, inputs)


def critical_path(calls: Sequence[Call]) -> tuple[int, ...]:
    """The calls that decide how long the graphs of a request take where those that do not need each other overlap."""
    ends: list[float] = []
    before: list[int | None] = []
    for call in calls:
        latest = max(call.needs, key=lambda needed: ends[needed], default=None)
        before.append(latest)
        ends.append(call.ms + (0.0 if latest is None else ends[latest]))
    path: list[int] = []
    at: int | None = max(range(len(ends)), key=ends.__getitem__, default=None)
    while at is not None:
        path.append(at)
        at = before[at]
    return tuple(reversed(path))
