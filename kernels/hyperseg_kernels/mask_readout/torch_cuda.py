"""The CUDA kernel on torch tensors: compiled for the GPU at hand on the first call, then kept."""

from functools import cache

import torch
from torch import Tensor

from hyperseg_kernels.cuda import torch_launch
from hyperseg_kernels.cuda.driver import Kernel
from hyperseg_kernels.cuda.source import ValueType
from hyperseg_kernels.mask_readout import cuda_source
from hyperseg_kernels.mask_readout.reference import PARTS


def read_masks(
    mask_logits: Tensor,
    shown: Tensor,
    row_index: Tensor,
    row_weight: Tensor,
    column_index: Tensor,
    column_weight: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """As `torch_op.mask_readout`, on one CUDA device; a query that is not there has no pixel inside."""
    images, queries, height, width = mask_logits.shape
    masks, image_height, image_width = shown.shape[1], row_index.shape[1], column_index.shape[1]
    grid = cuda_source.grid(images, queries, masks, width)
    sums = mask_logits.new_empty(images, queries, PARTS, dtype=torch.float32)
    areas = torch.empty_like(sums, dtype=torch.int32)
    pixels = areas.new_empty(images, masks, image_height, image_width, dtype=torch.bool)
    inputs = [mask_logits, shown.int(), row_index.int(), row_weight.float(), column_index.int(), column_weight.float()]
    numbers = [queries, masks, height, width, image_height, image_width]
    with torch_launch.stream_on(mask_logits.device) as stream:
        kernel = compiled_kernel(torch_launch.value_type_of(mask_logits), mask_logits.device)
        torch_launch.launch(kernel, stream, grid, inputs, numbers, [sums, areas, pixels])
    return sums, areas, pixels


@cache
def compiled_kernel(value_type: ValueType, device: torch.device) -> Kernel:
    source, headers = cuda_source.program(value_type), cuda_source.headers()
    return torch_launch.compiled(source, headers, cuda_source.name(value_type), device)
