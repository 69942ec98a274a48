"""CUDA's runtime and the driver of this machine: whether they can start, and whether they fit each other."""

from types import ModuleType
from typing import Any

from hyperseg_runtime.contracts.cuda_versions import OLDEST_DRIVERS, installed_cuda, misfit
from hyperseg_runtime.errors import EnvironmentMissingError

INSTALL = "run: pip install 'hyperseg-trt[trt]'"
START_HINTS = {
    46: "; another program holds the GPU exclusively",
    802: "; on machines with NVSwitch the service nvidia-fabricmanager must run",
    803: "; the driver was renewed and the machine not started again, or a container brings another driver's libraries",
    804: "; a container's CUDA compatibility libraries do not support this GPU: renew the driver, or remove them",
}
"""cudaErrorDevicesUnavailable, SystemNotReady, SystemDriverMismatch, CompatNotSupportedOnDevice (driver_types.h)."""


def load_cudart(advice: str = INSTALL) -> ModuleType:
    """cuda-python's CUDA runtime. Raises EnvironmentMissingError if it is absent or broken."""
    try:
        from cuda.bindings import runtime as cudart
    except ImportError as error:
        raise EnvironmentMissingError(f"cuda-python is missing or cannot be loaded ({error}); {advice}") from error
    module: ModuleType = cudart
    return module


def require_driver(cudart: Any) -> str:
    """The newest CUDA that the driver runs, such as "12.4". Raises EnvironmentMissingError where that is too old.

    CUDA's runtime answers cudaErrorInsufficientDriver (35) both with an old driver and with none; without one the
    version is 0 (cuda-bindings 12.9.4 and 13.4.1, run on a machine without a driver).
    """
    status, driver = cudart.cudaDriverGetVersion()
    checked_start(cudart, status)
    if not driver:
        raise EnvironmentMissingError(
            f"this machine has no NVIDIA driver; install version {OLDEST_DRIVERS[13]} or newer "
            "(build --dry-run works anywhere)"
        )
    status, runtime = cudart.cudaRuntimeGetVersion()
    checked_start(cudart, status)
    needed = max(runtime // 1000, *installed_cuda().values(), 0)
    if problem := misfit(driver // 1000, needed):
        raise EnvironmentMissingError(f"the NVIDIA driver here runs CUDA {_dotted(driver)} and older; {problem}")
    return _dotted(driver)


def checked_start(cudart: Any, status: Any) -> None:
    """Raises EnvironmentMissingError, with CUDA's own words, where CUDA cannot start."""
    if int(status):
        _, name = cudart.cudaGetErrorName(status)
        _, text = cudart.cudaGetErrorString(status)
        raise EnvironmentMissingError(
            f"CUDA cannot start on this machine: {_text(text)} ({_text(name)}, status {int(status)})"
            f"{START_HINTS.get(int(status), '; see what nvidia-smi says')}"
        )


def _text(said: bytes | str) -> str:
    return said.decode() if isinstance(said, bytes) else said


def _dotted(number: int) -> str:
    """12040 -> 12.4"""
    return f"{number // 1000}.{number % 1000 // 10}"
