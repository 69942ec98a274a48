"""Graphs whose calls return when the work is done, so that the time of a stage is its own."""

from collections.abc import Mapping
from typing import Protocol

from hyperseg_runtime.backends.base import Buffer, Graph


class DeviceGraph(Graph, Protocol):
    """A graph whose `run` returns while the work is still under way."""

    def wait(self) -> None:
        """Let the host wait for all calls so far."""
        ...

    def close(self) -> None:
        """Let go of what it holds on the device."""
        ...


class WaitingGraph:
    """A graph whose calls return when the GPU is done."""

    def __init__(self, graph: DeviceGraph) -> None:
        self.spec = graph.spec
        self._graph = graph

    def run(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        outputs = self._graph.run(inputs)
        self._graph.wait()
        return outputs
