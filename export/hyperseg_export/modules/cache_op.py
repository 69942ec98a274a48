"""A cache of fixed capacity for keys or values: new ones are written into it, and the slots in use are read.

Each is one torch op: writing is a TensorScatter node in ONNX, reading a Slice whose end is the size of another tensor,
which torch's exporter would have to know to lie within the capacity.
"""

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


@torch.library.custom_op("hyperseg::cache_slots", mutates_args=())
def cache_slots(cache: Tensor, mask: Tensor) -> Tensor:
    """The leading slots of `cache` (B, H, S, d) that `mask` (B, 1, T, s) is about: (B, H, s, d)."""
    return cache[:, :, : mask.shape[3]].clone()


@cache_slots.register_fake
def _(cache: Tensor, mask: Tensor) -> Tensor:
    return cache.new_empty(*cache.shape[:2], mask.shape[3], cache.shape[3])


def _remember_shape(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.shape = inputs[0].shape


def _slots_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
    """Of training: slots behind those in use get none."""
    whole = gradient.new_zeros(ctx.shape)
    whole[:, :, : gradient.shape[2]] = gradient
    return whole, None


cache_slots.register_autograd(_slots_backward, setup_context=_remember_shape)
