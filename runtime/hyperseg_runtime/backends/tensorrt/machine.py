"""The TensorRT, GPU and driver of this machine: what engines are built with and bound to."""

from types import ModuleType

from hyperseg_runtime.backends.cuda.driver import INSTALL, checked_start, load_cudart, require_driver
from hyperseg_runtime.bundle.engines import Machine
from hyperseg_runtime.contracts.tensorrt_versions import require_usable
from hyperseg_runtime.errors import EnvironmentMissingError

NO_DEVICE = 100
"""cudaErrorNoDevice"""


def load_tensorrt() -> ModuleType:
    """The `tensorrt` module. Raises EnvironmentMissingError if it is absent, broken or of an unusable release."""
    try:
        import tensorrt as trt
    except ImportError as error:
        raise EnvironmentMissingError(f"TensorRT is missing or cannot be loaded ({error}); {INSTALL}") from error
    require_usable(trt.__version__)
    module: ModuleType = trt
    return module


def find_machine(device: int = 0) -> Machine:
    """What an engine built now would be bound to. Raises EnvironmentMissingError without TensorRT, a GPU, or a driver
    that is new enough for them.
    """
    trt = load_tensorrt()
    cudart = load_cudart()
    driver = require_driver(cudart)
    status, count = cudart.cudaGetDeviceCount()
    if int(status) == NO_DEVICE or (not int(status) and count <= device):
        raise EnvironmentMissingError(
            f"engines are built on the GPU they run on, and CUDA finds {count or 0} here; "
            "see: hyperseg-trt doctor (build --dry-run works anywhere)"
        )
    checked_start(cudart, status)
    status, properties = cudart.cudaGetDeviceProperties(device)
    checked_start(cudart, status)
    return Machine(
        gpu=properties.name.decode().rstrip("\0"),
        compute_capability=(properties.major, properties.minor),
        memory_bytes=properties.totalGlobalMem,
        driver_cuda=driver,
        tensorrt=trt.__version__,
    )
