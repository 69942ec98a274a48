"""The operator as one torch op, so that an exporter sees one node instead of the arithmetic inside."""

import torch
from torch import Tensor

from hyperseg_kernels.deformable_attention import reference


@torch.library.custom_op("hyperseg::deformable_attention", mutates_args=())
def deformable_attention(
    value: Tensor, sampling_locations: Tensor, attention_weights: Tensor, level_shapes: list[int]
) -> Tensor:
    """See `reference.deformable_attention`; `level_shapes` is flat here: [h0, w0, h1, w1, ...]."""
    pairs = list(zip(level_shapes[::2], level_shapes[1::2], strict=True))
    return reference.deformable_attention(value, sampling_locations, attention_weights, pairs)


@deformable_attention.register_fake
def _(value: Tensor, sampling_locations: Tensor, attention_weights: Tensor, level_shapes: list[int]) -> Tensor:
    batch, _, heads, channels = value.shape
    return value.new_empty(batch, sampling_locations.shape[1], heads * channels)
