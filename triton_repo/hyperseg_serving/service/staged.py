"""A backend whose image graphs run somewhere else."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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


class StagedBackend:
    """Graphs whose results depend on the image alone go to `runner`, all others to `inner`."""

    def __init__(self, inner: Backend, runner: StageRunner) -> None:
        self._inner = inner
        self._runner = runner
        self.name = inner.name
        self.precisions = inner.precisions
        self.token_step = inner.token_step
        self.slot_step = inner.slot_step
        self.on_device = inner.on_device
        self.images_on_device = False

    def open(self, spec: GraphSpec, path: Path) -> Graph:
        return StageGraph(spec, self._runner) if spec.reuse is Reuse.IMAGE else self._inner.open(spec, path)

    def chained(self, first: Graph, second: Graph) -> Graph | None:
        return self._inner.chained(first, second)

    def upload(self, array: np.ndarray) -> Buffer:
        return self._inner.upload(array)

    def zeros(self, spec: TensorSpec, sizes: Mapping[str, int]) -> Buffer:
        return self._inner.zeros(spec, sizes)

    def copy_rows(self, target: Buffer, batch: int, start: int, source: Buffer, source_batch: int) -> None:
        self._inner.copy_rows(target, batch, start, source, source_batch)

    def to_host(self, buffers: Sequence[Buffer]) -> list[np.ndarray]:
        return self._inner.to_host(buffers)

    def close(self) -> None:
        self._inner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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
