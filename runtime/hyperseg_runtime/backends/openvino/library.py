"""The module `openvino`, with the errors of this project."""

from typing import Any

from hyperseg_runtime.errors import EnvironmentMissingError

INSTALL = "pip install 'hyperseg-trt[cpu,openvino]'"
BF16 = "BF16"
"""What OpenVINO calls the capability of a processor (ov::device::capability, runtime/properties.hpp)."""

try:
    import openvino as ov
except ModuleNotFoundError as error:
    raise EnvironmentMissingError(f"OpenVINO is missing; run: {INSTALL}") from error
except ImportError as error:
    raise EnvironmentMissingError(f"OpenVINO cannot be loaded ({error}); run: {INSTALL}") from error

__all__ = ["ov", "require_bf16"]


def require_bf16(core: Any) -> None:
    """Raise EnvironmentMissingError where the processor would only imitate bfloat16."""
    found = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if BF16 not in found:
        raise EnvironmentMissingError(
            f"bf16 was asked for, and this processor ({core.get_property('CPU', 'FULL_DEVICE_NAME')}) has no "
            f"instructions for it, it has {', '.join(found)}; leave it out"
        )
