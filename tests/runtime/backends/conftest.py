"""The double's GPU, which has to be empty after a test."""

import gc
from collections.abc import Iterator
from types import ModuleType

import pytest


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
