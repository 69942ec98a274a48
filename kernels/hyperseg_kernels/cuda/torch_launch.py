"""CUDA kernels on torch tensors: compiled for the GPU at hand, launched on torch's stream."""

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from hyperseg_kernels.cuda import driver as cuda_driver
from hyperseg_kernels.cuda import nvrtc
from hyperseg_kernels.cuda.driver import Kernel
from hyperseg_kernels.cuda.source import LOAD_BYTES, Grid, ValueType

VALUE_TYPES = {
    torch.float32: ValueType.FLOAT32,
    torch.float16: ValueType.FLOAT16,
    torch.bfloat16: ValueType.BFLOAT16,
}


def launch(
    kernel: Kernel, stream: int, grid: Grid, inputs: Sequence[Tensor], numbers: Sequence[int], outputs: Sequence[Tensor]
) -> None:
    """Kernels take inputs, then int32 numbers, then outputs; an empty grid has nothing to do."""
    if grid.blocks == 0:
        return
    held = [aligned(tensor) for tensor in inputs]
    arguments = [
        *(ctypes.c_void_p(tensor.data_ptr()) for tensor in held),
        *(ctypes.c_int32(number) for number in numbers),
        *(ctypes.c_void_p(tensor.data_ptr()) for tensor in outputs),
    ]
    kernel.launch(grid, stream, arguments)


def compiled(source: str, headers: Mapping[str, str], name: str, device: torch.device) -> Kernel:
    """Raises NativeBuildError where NVRTC is missing or does not know the GPU."""
    major, minor = torch.cuda.get_device_capability(device)
    cubin = nvrtc.compile_cubin(source, headers, f"sm_{major}{minor}")
    return cuda_driver.Kernel(cubin.image, name)


@contextmanager
def stream_on(device: torch.device) -> Iterator[int]:
    """The handle of torch's current stream on `device`, whose context is current meanwhile."""
    with torch.cuda.device(device):
        yield torch.cuda.current_stream(device).cuda_stream


def value_type_of(value: Tensor) -> ValueType:
    if value.dtype not in VALUE_TYPES:
        known = ", ".join(str(dtype) for dtype in VALUE_TYPES)
        raise TypeError(f"our kernels for a GPU take {known}, not {value.dtype}")
    return VALUE_TYPES[value.dtype]


def aligned(tensor: Tensor) -> Tensor:
    """Contiguous, and starting where the widest load may."""
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % LOAD_BYTES == 0 else tensor.clone()


def sum_type(tensor: Tensor) -> Tensor:
    """16-bit tensors as float32, the type in which every kernel adds."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
