"""The CUDA kernel on torch tensors: compiled for the GPU at hand on the first call, then kept."""

from functools import cache

import torch
from torch import Tensor

from hyperseg_kernels.cuda import torch_launch
from hyperseg_kernels.cuda.driver import Kernel
from hyperseg_kernels.cuda.source import ValueType
from hyperseg_kernels.pillow_resize import cuda_source


def resize(pixels: Tensor, *tables: Tensor) -> Tensor:
    """As `torch_op.pillow_resize`, on one CUDA device. Raises ValueError for what one launch cannot count."""
    images, height, width, channels = pixels.shape
    first, columns, last = tables[0], tables[2], tables[4]
    resized = pixels.new_empty(images, last.shape[1], columns.shape[1], channels)
    grid = cuda_source.grid(images, last.shape[1], columns.shape[1] * channels)
    shapes = [size for table in (first, columns, last) for size in table.shape]
    numbers = [height, width, channels, *shapes]
    with torch_launch.stream_on(pixels.device) as stream:
        kernel = compiled_kernel(torch_launch.value_type_of(pixels), pixels.device)
        inputs = [pixels, *(table.int() for table in tables)]
        torch_launch.launch(kernel, stream, grid, inputs, numbers, [resized])
    return resized


@cache
def compiled_kernel(value_type: ValueType, device: torch.device) -> Kernel:
    source, headers = cuda_source.program(value_type), cuda_source.headers()
    return torch_launch.compiled(source, headers, cuda_source.name(value_type), device)
