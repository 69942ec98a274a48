"""Watching graphs run: what went in and what came out of each call."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from hyperseg_runtime.backends.base import Buffer, Graph

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Call:
    inputs: Arrays
    outputs: Arrays


@dataclass
class RecordingGraphs(Mapping[str, Graph]):
    """The given graphs, keeping copies of inputs (before in-place updates) and outputs of every call."""

    graphs: Mapping[str, Graph]
    calls: dict[str, list[Call]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Graph:
        return _RecordingGraph(self.graphs[name], self.calls.setdefault(name, []))

    def __iter__(self) -> Iterator[str]:
        return iter(self.graphs)

    def __len__(self) -> int:
        return len(self.graphs)


class _RecordingGraph:
    def __init__(self, graph: Graph, calls: list[Call]) -> None:
        self.spec = graph.spec
        self._graph = graph
        self._calls = calls

    def run(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        before = {name: buffer.to_host().copy() for name, buffer in inputs.items()}
        outputs = self._graph.run(inputs)
        after = {name: buffer.to_host().copy() for name, buffer in outputs.items()}
        self._calls.append(Call(before, after))
        return outputs
