"""Launching through the CUDA driver, with a stand-in for the driver that reads what a real one would."""

import ctypes
from typing import Any

import pytest

from hyperseg_kernels.cuda import driver as cuda_driver
from hyperseg_kernels.cuda.driver import CudaError, Kernel
from hyperseg_kernels.cuda.source import Grid

INVALID_IMAGE = 200


class Driver:
    """Two arguments are read through their addresses, as the driver copies them."""

    def __init__(self) -> None:
        self.launches: list[tuple[Any, ...]] = []

    def cuModuleLoadData(self, module: Any, image: bytes) -> int:  # noqa: N802
        module._obj.value = 11
        return 0 if image == b"image" else INVALID_IMAGE

    def cuModuleGetFunction(self, function: Any, module: ctypes.c_void_p, name: bytes) -> int:  # noqa: N802
        assert (module.value, name) == (11, b"kernel")
        function._obj.value = 12
        return 0

    def cuLaunchKernel(self, function: ctypes.c_void_p, *rest: Any) -> int:  # noqa: N802
        *sizes, stream, pointers, extra = rest
        number = ctypes.cast(pointers[0], ctypes.POINTER(ctypes.c_int32))[0]
        address = ctypes.cast(pointers[1], ctypes.POINTER(ctypes.c_void_p))[0]
        self.launches.append((function.value, sizes, stream.value, number, address, extra))
        return 0

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return flags

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:  # noqa: N802
        device._obj.value = 7 + ordinal
        return 0

    def cuDeviceGetAttribute(self, value: Any, number: int, device: ctypes.c_int) -> int:  # noqa: N802
        assert device.value == 7
        value._obj.value = {75: 12, 76: 1}[number]  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
        return 0

    def cuGetErrorName(self, status: int, name: Any) -> int:  # noqa: N802
        name._obj.value = f"CUDA_ERROR_{status}".encode()
        return 0


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    made = Driver()
    monkeypatch.setattr(cuda_driver, "load", lambda: made)
    return made


def test_a_launch_passes_grid_stream_and_arguments(driver: Driver) -> None:
    kernel = Kernel(b"image", "kernel")
    kernel.launch(Grid(5, 256, 64), 99, [ctypes.c_int32(-3), ctypes.c_void_p(2**40)])
    assert driver.launches == [(12, [5, 1, 1, 256, 1, 1, 64], 99, -3, 2**40, None)]


def test_a_refusal_has_the_drivers_name_for_it(driver: Driver) -> None:
    with pytest.raises(CudaError, match="CUDA_ERROR_200"):
        Kernel(b"damaged", "kernel")


@pytest.mark.usefixtures("driver")
def test_the_architecture_is_that_of_the_first_gpu() -> None:
    assert cuda_driver.architecture() == "sm_121"
