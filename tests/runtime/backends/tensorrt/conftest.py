"""A backend on the double's GPU."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hyperseg_runtime.backends.tensorrt import TensorRTBackend
from hyperseg_runtime.backends.tensorrt.graph import TensorRTGraph
from hyperseg_runtime.bundle.opening import Bundle, read_manifest

OpenGraph = Callable[[TensorRTBackend, str], Any]


@pytest.fixture
def backend(gpu: ModuleType, engine_bundle: Path) -> Iterator[TensorRTBackend]:
    with TensorRTBackend(Bundle.read(engine_bundle)) as opened:
        yield opened


@pytest.fixture
def open_graph(engine_bundle: Path) -> OpenGraph:
    """Open a graph of `engine_bundle` by name."""
    entries = {entry.spec.name: entry for entry in read_manifest(engine_bundle).graphs}

    def open_it(backend: TensorRTBackend, name: str) -> TensorRTGraph:
        graph = backend.open(entries[name].spec, engine_bundle / entries[name].file)
        assert isinstance(graph, TensorRTGraph)
        return graph

    return open_it
