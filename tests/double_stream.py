"""CUDA calls of the double without our own code around them."""

import ctypes
from types import ModuleType
from typing import Any

import numpy as np


class Bare:
    """Remembers what it asked for, so that a test can give all of it back."""

    def __init__(self, gpu: ModuleType) -> None:
        from cuda.bindings import runtime

        self.gpu = gpu
        self.api: Any = runtime
        self._device: list[int] = []
        self._pinned: list[int] = []
        self._handles: list[int] = []

    def malloc(self, size: int) -> int:
        self._device.append(self.api.cudaMalloc(size)[1])
        return self._device[-1]

    def pinned(self, size: int) -> int:
        self._pinned.append(self.api.cudaHostAlloc(size, 0)[1])
        return self._pinned[-1]

    def stream(self) -> int:
        self._handles.append(self.api.cudaStreamCreateWithFlags(1)[1])
        return self._handles[-1]

    def copy(self, target: int, source: int, size: int, kind: int, stream: int) -> None:
        assert self.api.cudaMemcpyAsync(target, source, size, kind, stream) == (0,)

    def wait_for(self, waiting: int, other: int) -> None:
        event = self.api.cudaEventCreateWithFlags(2)[1]
        self.api.cudaEventRecord(event, other)
        self.api.cudaStreamWaitEvent(waiting, event, 0)
        self.api.cudaEventDestroy(event)

    def fill(self, address: int, values: np.ndarray) -> None:
        ctypes.memmove(address, values.ctypes.data, values.nbytes)

    def read(self, address: int, count: int) -> np.ndarray:
        return np.frombuffer(ctypes.string_at(address, 4 * count), np.float32)

    def free_device(self, address: int) -> None:
        self._device.remove(address)
        self.api.cudaFree(address)

    def free(self) -> None:
        for stream in self._handles:
            self.api.cudaStreamDestroy(stream)
        for address in self._device:
            self.api.cudaFree(address)
        for address in self._pinned:
            self.api.cudaFreeHost(address)
