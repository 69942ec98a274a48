"""What the ahead-of-time TensorRT plugins of all operators have in common; `register` makes all of them known.

The kernel goes into the engine and nothing ships beside it. It is compiled for the GPU of the building process and
for the sizes of the layer, which the engine keeps. TensorRT 11.4 calls this interface experimental;
kernels/README.md compares it with the C++ plugins.
"""

from collections.abc import Mapping
from typing import Any

from hyperseg_kernels import cuda_driver, nvrtc
from hyperseg_kernels.catalog import OperatorName
from hyperseg_kernels.cuda import ValueType

VALUE_TYPES = {"FLOAT": ValueType.FLOAT32, "HALF": ValueType.FLOAT16, "BF16": ValueType.BFLOAT16}
"""By the name of a `tensorrt.DataType`."""


def register() -> None:
    """Before a network with our nodes is parsed; once per process. The process that only runs the engine needs
    nothing. Raises ImportError without TensorRT."""
    from hyperseg_kernels.deformable_attention import tensorrt_aot as attention
    from hyperseg_kernels.mask_readout import tensorrt_aot as readout

    attention.register_given()
    attention.register_projected()
    readout.register()


def constant_size(operator: OperatorName, name: str, size: Any) -> int:
    """The number behind one of TensorRT's expressions, which must not be dynamic: the kernel is made for it."""
    if not size.is_constant:
        raise ValueError(f"{operator}: the number of {name} must not be dynamic")
    return int(size.constant_value())


def machine_code(source: str, headers: Mapping[str, str]) -> bytes:
    return nvrtc.compile_cubin(source, headers, cuda_driver.architecture()).image
