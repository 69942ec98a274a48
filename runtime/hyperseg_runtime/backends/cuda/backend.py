"""What backends on a GPU have in common: buffers of one device, and graphs that are closed with it."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar

import numpy as np

from hyperseg_runtime.backends.base import Buffer, Graph
from hyperseg_runtime.backends.cuda.device import Device, DeviceBuffer
from hyperseg_runtime.backends.cuda.waiting import DeviceGraph, WaitingGraph
from hyperseg_runtime.contracts.graph_spec import TensorSpec

G = TypeVar("G", bound=DeviceGraph)


class DeviceBackend:
    """The part of `Backend` that does not depend on what runs the graphs. It closes the device.

    With `overlap` off every call of a graph waits until it is done.
    """

    on_device = images_on_device = True

    def __init__(self, device: Device, overlap: bool) -> None:
        self._device = device
        self._overlap = overlap
        self._graphs: list[DeviceGraph] = []

    def opened(self, graph: G) -> G | WaitingGraph:
        """The graph as callers get it; it is closed with the backend."""
        self._graphs.append(graph)
        return graph if self._overlap else WaitingGraph(graph)

    def chained(self, first: Graph, second: Graph) -> Graph | None:
        """None: nothing is recorded."""
        return None

    def upload(self, array: np.ndarray) -> DeviceBuffer:
        return self._device.upload(array)

    def zeros(self, spec: TensorSpec, sizes: Mapping[str, int]) -> DeviceBuffer:
        return self._device.zeros(spec, sizes)

    def copy_rows(self, target: Buffer, batch: int, start: int, source: Buffer, source_batch: int) -> None:
        self._device.copy_rows(target, batch, start, source, source_batch)

    def to_host(self, buffers: Sequence[Buffer]) -> list[np.ndarray]:
        return self._device.to_host([self._device.own(buffer, "buffer") for buffer in buffers])

    def close(self) -> None:
        for graph in self._graphs:
            graph.close()
        self._graphs.clear()
        self._device.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
