"""Load machine code onto a GPU and launch it, through the CUDA driver that comes with the GPU."""

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

from hyperseg_kernels.cuda.source import Grid
from hyperseg_kernels.native import NativeBuildError

DRIVER = "libcuda.so.1"
CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76  # of CUdevice_attribute in cuda.h


class CudaError(RuntimeError):
    """The driver refused a call."""


class Kernel:
    """A function of a loaded module, bound to the GPU context that was current when it was loaded."""

    def __init__(self, image: bytes, name: str) -> None:
        self._driver = load()
        module = ctypes.c_void_p()
        self._function = ctypes.c_void_p()
        check(self._driver, self._driver.cuModuleLoadData(ctypes.byref(module), image))
        check(self._driver, self._driver.cuModuleGetFunction(ctypes.byref(self._function), module, name.encode()))

    def launch(self, grid: Grid, stream: int, arguments: Sequence[Any]) -> None:
        """Queue one launch. `arguments` are ctypes values in the order of the kernel's parameters; `stream` is the
        handle of a CUDA stream. Raises CudaError."""
        pointers = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(argument) for argument in arguments))
        blocks, threads = (grid.blocks, 1, 1), (grid.threads, 1, 1)
        status = self._driver.cuLaunchKernel(
            self._function, *blocks, *threads, grid.shared_bytes, ctypes.c_void_p(stream), pointers, None
        )
        check(self._driver, status)


def newest_cuda() -> int | None:
    """The CUDA major version that the driver runs; None where there is none to ask."""
    try:
        driver, number = load(), ctypes.c_int()
        check(driver, driver.cuDriverGetVersion(ctypes.byref(number)))
    except (NativeBuildError, CudaError):
        return None
    return number.value // 1000  # 12080 is 12.8


def architecture() -> str:
    """Of the first GPU that this process sees, like "sm_90"."""
    driver, device = load(), ctypes.c_int()
    check(driver, driver.cuInit(0))
    check(driver, driver.cuDeviceGet(ctypes.byref(device), 0))
    major, minor = (attribute(driver, device, number) for number in (CAPABILITY_MAJOR, CAPABILITY_MINOR))
    return f"sm_{major}{minor}"


def attribute(driver: ctypes.CDLL, device: ctypes.c_int, number: int) -> int:
    value = ctypes.c_int()
    check(driver, driver.cuDeviceGetAttribute(ctypes.byref(value), number, device))
    return value.value


@cache
def load() -> ctypes.CDLL:
    """Raises NativeBuildError where no driver is installed."""
    try:
        return ctypes.CDLL(DRIVER)
    except OSError:
        raise NativeBuildError(f"{DRIVER} is missing: install the driver of an NVIDIA GPU") from None


def check(driver: ctypes.CDLL, status: int) -> None:
    if status != 0:
        name = ctypes.c_char_p()
        driver.cuGetErrorName(status, ctypes.byref(name))
        raise CudaError(f"CUDA driver: {(name.value or b'unknown error').decode()}")
