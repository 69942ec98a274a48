"""The CUDA kernels on torch tensors: compiled for the layer and GPU at hand on the first call, then kept."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor

from hyperseg_kernels import cuda_driver, nvrtc
from hyperseg_kernels.cuda_driver import Kernel
from hyperseg_kernels.deformable_attention import cuda_source
from hyperseg_kernels.deformable_attention.cuda_source import LOAD_BYTES, Layer, ValueType

VALUE_TYPES = {
    torch.float32: ValueType.FLOAT32,
    torch.float16: ValueType.FLOAT16,
    torch.bfloat16: ValueType.BFLOAT16,
}


def deformable_attention(value: Tensor, locations: Tensor, weights: Tensor, layer: Layer) -> Tensor:
    """As `reference.deformable_attention`, on one CUDA device; locations and weights are taken as float32."""
    value_type = value_type_of(value)
    batch, queries = weights.shape[:2]
    lanes = layer.lanes(value_type, batch, queries)
    output = value.new_empty(batch, queries, layer.heads * layer.channels)
    with stream_on(value.device) as stream:
        kernel = given_kernel(layer, value_type, value.device)
        launch(kernel, stream, lanes, [value, locations.float(), weights.float()], [lanes, queries], output)
    return output


def projected_deformable_attention(
    value: Tensor, references: Tensor, offsets: Tensor, logits: Tensor, layer: Layer
) -> Tensor:
    """As `reference.projected_attention`, on one CUDA device. References are taken as float32, offsets and logits
    in the type of the values."""
    value_type = value_type_of(value)
    batch, queries = logits.shape[:2]
    images, _, levels, size = references.shape
    strides = [references[0].numel() if images > 1 else 0, size if levels > 1 else 0]
    lanes = layer.lanes(value_type, batch, queries)
    output = value.new_empty(batch, queries, layer.heads * layer.channels)
    tensors = [value, references.float(), offsets.to(value.dtype), logits.to(value.dtype)]
    with stream_on(value.device) as stream:
        kernel = projected_kernel(layer, value_type, size, value.device)
        launch(kernel, stream, lanes, tensors, [lanes, queries, *strides], output)
    return output


def launch(kernel: Kernel, stream: int, lanes: int, tensors: list[Tensor], numbers: list[int], output: Tensor) -> None:
    """Kernels take inputs, then int32 numbers, then the output."""
    if lanes == 0:
        return
    held = [aligned(tensor) for tensor in tensors]
    arguments = [
        *(ctypes.c_void_p(tensor.data_ptr()) for tensor in held),
        *(ctypes.c_int32(number) for number in numbers),
        ctypes.c_void_p(output.data_ptr()),
    ]
    kernel.launch(cuda_source.blocks(lanes), cuda_source.THREADS_PER_BLOCK, stream, arguments)


@cache
def given_kernel(layer: Layer, value_type: ValueType, device: torch.device) -> Kernel:
    source = cuda_source.program(layer, [cuda_source.given_kernel(layer, value_type)])
    return compiled(source, cuda_source.given_name(value_type), device)


@cache
def projected_kernel(layer: Layer, value_type: ValueType, reference_size: int, device: torch.device) -> Kernel:
    source = cuda_source.program(layer, [cuda_source.projected_kernel(layer, value_type, reference_size)])
    return compiled(source, cuda_source.projected_name(value_type, reference_size), device)


def compiled(source: str, name: str, device: torch.device) -> Kernel:
    """Raises NativeBuildError where NVRTC is missing or does not know the GPU."""
    major, minor = torch.cuda.get_device_capability(device)
    cubin = nvrtc.compile_cubin(source, cuda_source.headers(), f"sm_{major}{minor}")
    return cuda_driver.Kernel(cubin.image, name)


@contextmanager
def stream_on(device: torch.device) -> Iterator[int]:
    """The handle of torch's current stream on `device`, whose context is current meanwhile."""
    with torch.cuda.device(device):
        yield torch.cuda.current_stream(device).cuda_stream


def value_type_of(value: Tensor) -> ValueType:
    if value.dtype not in VALUE_TYPES:
        known = ", ".join(str(dtype) for dtype in VALUE_TYPES)
        raise TypeError(f"deformable attention on a GPU takes values of {known}, not {value.dtype}")
    return VALUE_TYPES[value.dtype]


def aligned(tensor: Tensor) -> Tensor:
    """Contiguous, and starting where the widest load may."""
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % LOAD_BYTES == 0 else tensor.clone()
