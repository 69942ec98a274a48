"""What the ahead-of-time TensorRT plugins of all operators have in common: types, sizes, machine code."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from hyperseg_kernels.catalog import OperatorName
from hyperseg_kernels.cuda import nvrtc
from hyperseg_kernels.cuda.source import ValueType

VALUE_TYPES = {"FLOAT": ValueType.FLOAT32, "HALF": ValueType.FLOAT16, "BF16": ValueType.BFLOAT16}
"""By the name of a `tensorrt.DataType`."""


def constant_size(operator: OperatorName, name: str, size: Any) -> int:
    """The number behind one of TensorRT's expressions, which must not be dynamic: the kernel is made for it."""
    if not size.is_constant:
        raise ValueError(f"{operator}: the number of {name} must not be dynamic")
    return int(size.constant_value())


def machine_code(source: str, headers: Mapping[str, str], architecture: str) -> bytes:
    """Layers of one shape ask for the same code, each of them for every type that TensorRT tries."""
    return _compiled(source, tuple(headers.items()), architecture)


@cache
def _compiled(source: str, headers: tuple[tuple[str, str], ...], architecture: str) -> bytes:
    return nvrtc.compile_cubin(source, dict(headers), architecture).image
