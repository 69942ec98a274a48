"""A backend whose image graphs run somewhere else."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from hyperseg_runtime.backends.base import Backend, Buffer, Graph
from hyperseg_runtime.contracts.graph_spec import GraphSpec, Reuse, TensorSpec

StageRunner = Callable[[GraphSpec, Mapping[str, Buffer]], dict[str, Buffer]]


@dataclass
class StageGraph:
    spec: GraphSpec
    runner: StageRunner

    def run(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        return self.runner(self.spec, inputs)


@dataclass(frozen=True)
class HostTensor:
    """What image graphs hand each other, for runners that take it from the host."""

    array: np.ndarray

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    def to_host(self) -> np.ndarray:
        return self.array


@dataclass(frozen=True)
class GivenTensor(HostTensor):
    """What a request brings: it goes to where a backend's tensors lie when a graph of that backend takes it. What goes
    to another model does not go there only to come back.
    """

    backend: Backend = field(repr=False)

    @cached_property
    def there(self) -> Buffer:
        return self.backend.upload(self.array)


class InnerGraph:
    """A graph of the backend itself."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.spec = graph.spec

    def run(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        return self.graph.run({name: _there(buffer) for name, buffer in inputs.items()})


class StagedBackend:
    """Graphs whose results depend on the image alone go to `runner`, all others to `inner`. Images are prepared by the
    host, from where the runner takes them.
    """

    images_on_device = False

    def __init__(self, inner: Backend, runner: StageRunner) -> None:
        self._inner = inner
        self._runner = runner
        self.name = inner.name
        self.precisions = inner.precisions
        self.token_step = inner.token_step
        self.slot_step = inner.slot_step
        self.on_device = inner.on_device

    def open(self, spec: GraphSpec, path: Path) -> Graph:
        if spec.reuse is Reuse.IMAGE:
            return StageGraph(spec, self._runner)
        return InnerGraph(self._inner.open(spec, path))

    def chained(self, first: Graph, second: Graph) -> Graph | None:
        if not (isinstance(first, InnerGraph) and isinstance(second, InnerGraph)):
            return None
        chain = self._inner.chained(first.graph, second.graph)
        return InnerGraph(chain) if chain else None

    def upload(self, array: np.ndarray) -> Buffer:
        return GivenTensor(array, self._inner)

    def zeros(self, spec: TensorSpec, sizes: Mapping[str, int]) -> Buffer:
        return self._inner.zeros(spec, sizes)

    def copy_rows(self, target: Buffer, batch: int, start: int, source: Buffer, source_batch: int) -> None:
        self._inner.copy_rows(_there(target), batch, start, _there(source), source_batch)

    def to_host(self, buffers: Sequence[Buffer]) -> list[np.ndarray]:
        return self._inner.to_host([_there(buffer) for buffer in buffers])

    def close(self) -> None:
        self._inner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _there(buffer: Buffer) -> Buffer:
    return buffer.there if isinstance(buffer, GivenTensor) else buffer
