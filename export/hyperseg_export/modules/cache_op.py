"""Writing new keys or values into a cache of fixed capacity: one torch op, one ONNX TensorScatter node."""

import torch
from torch import Tensor


@torch.library.custom_op("hyperseg::cache_update", mutates_args=())
def cache_update(cache: Tensor, update: Tensor, write_indices: Tensor) -> Tensor:
    """Copy of `cache` (B, H, S, d) with `update` (B, H, T, d) written at slot write_indices[b] of batch b.

    Eager PyTorch copies; a runtime that binds input and output to the same memory writes in place.
    """
    updated = cache.clone()
    for row, start in enumerate(write_indices.tolist()):
        if not 0 <= start <= cache.shape[2] - update.shape[2]:
            raise ValueError(f"{update.shape[2]} tokens at slot {start} do not fit {cache.shape[2]} slots")
        updated[row, :, start : start + update.shape[2]] = update[row]
    return updated


@cache_update.register_fake
def _(cache: Tensor, update: Tensor, write_indices: Tensor) -> Tensor:
    return torch.empty_like(cache)
