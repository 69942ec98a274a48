"""A backend on the double's GPU, which has to be empty afterwards."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hyperseg_runtime.backends.tensorrt import TensorRTBackend
from hyperseg_runtime.backends.tensorrt.graph import TensorRTGraph
from hyperseg_runtime.bundle.opening import read_manifest

OpenGraph = Callable[[TensorRTBackend, str], Any]


@pytest.fixture
def gpu(tensorrt_double: None) -> Iterator[ModuleType]:
    """The module of the double's GPU; after the test nothing may be left on it."""
    import double_gpu

    yield double_gpu
    if any(left_on(double_gpu)):
        gc.collect()  # slow
    assert left_on(double_gpu) == (0, 0, set())


def left_on(double_gpu: ModuleType) -> tuple[int, int, set[str]]:
    """Bytes on the device, pinned bytes on the host, kinds of handles."""
    memory, handles = double_gpu.GPU.memory, double_gpu.GPU.handles.values()
    return memory["device"].live_bytes, memory["pinned"].live_bytes, {type(thing).__name__ for thing in handles}


@pytest.fixture
def backend(gpu: ModuleType, engine_bundle: Path) -> Iterator[TensorRTBackend]:
    with TensorRTBackend(engine_bundle) as opened:
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
