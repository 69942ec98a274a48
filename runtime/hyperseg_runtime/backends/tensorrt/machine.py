"""The TensorRT, GPU and driver of this machine: what engines are built with and bound to."""

from types import ModuleType
from typing import Any

from hyperseg_runtime.bundle.engines import Machine
from hyperseg_runtime.contracts.tensorrt_versions import require_usable
from hyperseg_runtime.errors import EnvironmentMissingError

INSTALL = "run: pip install 'hyperseg-trt[trt]'"


def load_tensorrt() -> ModuleType:
    """The `tensorrt` module. Raises EnvironmentMissingError if it is absent, broken or of an unusable release."""
    try:
        import tensorrt as trt
    except ImportError as error:
        raise EnvironmentMissingError(f"TensorRT is missing or cannot be loaded ({error}); {INSTALL}") from error
    require_usable(trt.__version__)
    module: ModuleType = trt
    return module


def load_cudart() -> ModuleType:
    """cuda-python's CUDA runtime. Raises EnvironmentMissingError if it is absent or broken."""
    try:
        from cuda.bindings import runtime as cudart
    except ImportError as error:
        raise EnvironmentMissingError(f"cuda-python is missing or cannot be loaded ({error}); {INSTALL}") from error
    module: ModuleType = cudart
    return module


def find_machine(device: int = 0) -> Machine:
    """What an engine built now would be bound to. Raises EnvironmentMissingError without TensorRT or a GPU."""
    trt = load_tensorrt()
    cudart = load_cudart()
    count = _value(cudart.cudaGetDeviceCount(), 0)
    if count <= device:
        raise EnvironmentMissingError(
            f"engines are built on the GPU they run on, and CUDA finds {count} here; "
            "see: hyperseg-trt doctor (build --dry-run works anywhere)"
        )
    properties = _value(cudart.cudaGetDeviceProperties(device), None)
    driver = _value(cudart.cudaDriverGetVersion(), 0)
    return Machine(
        gpu=properties.name.decode().rstrip("\0"),
        compute_capability=(properties.major, properties.minor),
        memory_bytes=properties.totalGlobalMem,
        driver_cuda=f"{driver // 1000}.{driver % 1000 // 10}",
        tensorrt=trt.__version__,
    )


def _value(answer: tuple[Any, Any], otherwise: Any) -> Any:
    """CUDA functions give (status, value); a status other than 0 counts as nothing found."""
    status, value = answer
    return otherwise if int(status) else value
