"""The operator as torch ops: one node for an exporter, our kernels on a GPU, the reference elsewhere.

For inference: no gradient is defined, and asking for one is an error of torch.
"""

import torch
from torch import Tensor

from hyperseg_kernels.cuda.torch_launch import sum_type
from hyperseg_kernels.deformable_attention import reference, torch_cuda
from hyperseg_kernels.deformable_attention.cuda_source import Layer


@torch.library.custom_op("hyperseg::deformable_attention", mutates_args=())
def deformable_attention(
    value: Tensor, sampling_locations: Tensor, attention_weights: Tensor, level_shapes: list[int]
) -> Tensor:
    """See `reference.deformable_attention`; `level_shapes` is flat here: [h0, w0, h1, w1, ...].

    On a GPU values may be float32, float16 or bfloat16, and the kernel is compiled on the first call (a second
    or two); NativeBuildError says what is missing if it cannot be.
    """
    locations, weights = sum_type(sampling_locations), sum_type(attention_weights)
    made = reference.deformable_attention(sum_type(value), locations, weights, pairs(level_shapes))
    return made.to(value.dtype)


@deformable_attention.register_kernel("cuda")
def _(value: Tensor, sampling_locations: Tensor, attention_weights: Tensor, level_shapes: list[int]) -> Tensor:
    layer = layer_of(value, attention_weights, level_shapes)
    return torch_cuda.deformable_attention(value, sampling_locations, attention_weights, layer)


@torch.library.custom_op("hyperseg::projected_deformable_attention", mutates_args=())
def projected_deformable_attention(
    value: Tensor, references: Tensor, offsets: Tensor, logits: Tensor, level_shapes: list[int]
) -> Tensor:
    """The fused form: see `reference.projected_attention`, and `deformable_attention` for the rest."""
    shapes = pairs(level_shapes)
    inputs = sum_type(value), sum_type(references), sum_type(offsets), sum_type(logits)
    return reference.projected_attention(*inputs, shapes).to(value.dtype)


@projected_deformable_attention.register_kernel("cuda")
def _(value: Tensor, references: Tensor, offsets: Tensor, logits: Tensor, level_shapes: list[int]) -> Tensor:
    layer = layer_of(value, logits, level_shapes)
    return torch_cuda.projected_deformable_attention(value, references, offsets, logits, layer)


@torch.library.custom_op("hyperseg::sized_deformable_attention", mutates_args=())
def sized_deformable_attention(
    value: Tensor, references: Tensor, offsets: Tensor, logits: Tensor, level_sizes: Tensor
) -> Tensor:
    """The fused form with boxes, for maps whose sizes only a call tells: level_sizes (L, 2) int64, height and width."""
    made: Tensor = projected_deformable_attention(value, references, offsets, logits, level_sizes.flatten().tolist())
    return made


@deformable_attention.register_fake
def _(value: Tensor, sampling_locations: Tensor, attention_weights: Tensor, level_shapes: list[int]) -> Tensor:
    return output_like(value, attention_weights)


@projected_deformable_attention.register_fake
def _(value: Tensor, references: Tensor, offsets: Tensor, logits: Tensor, level_shapes: list[int]) -> Tensor:
    return output_like(value, logits)


@sized_deformable_attention.register_fake
def _(value: Tensor, references: Tensor, offsets: Tensor, logits: Tensor, level_sizes: Tensor) -> Tensor:
    return output_like(value, logits)


def output_like(value: Tensor, weights: Tensor) -> Tensor:
    batch, _, heads, channels = value.shape
    return value.new_empty(batch, weights.shape[1], heads * channels)


def pairs(level_shapes: list[int]) -> tuple[tuple[int, int], ...]:
    return tuple(zip(level_shapes[::2], level_shapes[1::2], strict=True))


def layer_of(value: Tensor, weights: Tensor, level_shapes: list[int]) -> Layer:
    """Sizes of the layer; ValueError where the tensors do not fit them."""
    layer = Layer(value.shape[2], value.shape[3], weights.shape[4], pairs(level_shapes))
    if value.shape[1] != layer.rows:
        raise ValueError(f"level_shapes cover {layer.rows} rows, value has {value.shape[1]}")
    return layer
