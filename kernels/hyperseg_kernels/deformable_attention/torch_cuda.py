"""The CUDA kernels on torch tensors: compiled for the layer and GPU at hand on the first call, then kept."""

from functools import cache

import torch
from torch import Tensor

from hyperseg_kernels.cuda import torch_launch
from hyperseg_kernels.cuda.driver import Kernel
from hyperseg_kernels.cuda.source import ValueType, grid_of
from hyperseg_kernels.deformable_attention import cuda_source
from hyperseg_kernels.deformable_attention.cuda_source import Layer


def deformable_attention(value: Tensor, locations: Tensor, weights: Tensor, layer: Layer) -> Tensor:
    """As `reference.deformable_attention`, on one CUDA device; locations and weights are taken as float32."""
    value_type = torch_launch.value_type_of(value)
    batch, queries = weights.shape[:2]
    lanes = layer.lanes(value_type, batch, queries)
    output = value.new_empty(batch, queries, layer.heads * layer.channels)
    inputs = [value, locations.float(), weights.float()]
    with torch_launch.stream_on(value.device) as stream:
        kernel = given_kernel(layer, value_type, value.device)
        torch_launch.launch(kernel, stream, grid_of(lanes), inputs, [lanes, queries], [output])
    return output


def projected_deformable_attention(
    value: Tensor, references: Tensor, offsets: Tensor, logits: Tensor, layer: Layer
) -> Tensor:
    """As `reference.projected_attention`, on one CUDA device. References are taken as float32, offsets and logits
    in the type of the values."""
    value_type = torch_launch.value_type_of(value)
    batch, queries = logits.shape[:2]
    images, _, levels, size = references.shape
    strides = [references[0].numel() if images > 1 else 0, size if levels > 1 else 0]
    lanes = layer.lanes(value_type, batch, queries)
    output = value.new_empty(batch, queries, layer.heads * layer.channels)
    inputs = [value, references.float(), offsets.to(value.dtype), logits.to(value.dtype)]
    with torch_launch.stream_on(value.device) as stream:
        kernel = projected_kernel(layer, value_type, size, value.device)
        torch_launch.launch(kernel, stream, grid_of(lanes), inputs, [lanes, queries, *strides], [output])
    return output


@cache
def given_kernel(layer: Layer, value_type: ValueType, device: torch.device) -> Kernel:
    source = cuda_source.program(layer, [cuda_source.given_kernel(layer, value_type)])
    return torch_launch.compiled(source, cuda_source.headers(), cuda_source.given_name(value_type), device)


@cache
def projected_kernel(layer: Layer, value_type: ValueType, reference_size: int, device: torch.device) -> Kernel:
    source = cuda_source.program(layer, [cuda_source.projected_kernel(layer, value_type, reference_size)])
    name = cuda_source.projected_name(value_type, reference_size)
    return torch_launch.compiled(source, cuda_source.headers(), name, device)
