"""Writing new keys or values into a cache of fixed capacity: one torch op, one ONNX TensorScatter node."""

from typing import Any

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


def _remember(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    cache, update, write_indices = inputs
    ctx.save_for_backward(write_indices)
    ctx.tokens, ctx.cache_needed = update.shape[2], cache.requires_grad


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, None]:
    """Of training: what was written gets its own slots' gradient, the cache all others."""
    (write_indices,) = ctx.saved_tensors
    spans = [slice(start, start + ctx.tokens) for start in write_indices.tolist()]
    written = torch.stack([gradient[row, :, span] for row, span in enumerate(spans)])
    kept = None
    if ctx.cache_needed:
        kept = gradient.clone()
        for row, span in enumerate(spans):
            kept[row, :, span] = 0
    return kept, written, None


cache_update.register_autograd(_backward, setup_context=_remember)
