"""A PSALM checkpoint in miniature: the published layout, random weights, a tokenizer of its own."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from hyperseg_export.checkpoint.random_weights import RandomCheckpoint
from hyperseg_export.families.mask_queries import made_files
from hyperseg_export.families.mask_queries.made_tokenizer import BASE_TOKENS, SEG, TOKEN_ROWS, write_tokenizer
from hyperseg_export.families.psalm.layout import Sizes, tensor_layout
from hyperseg_runtime.families.psalm.prompts import CLASS_PROMPT, REFERRING_PROMPT, REGION_PROMPT

PAD = "[PAD]"
VARIANCE_SPREAD = 0.3
MEAN_SPREAD = 0.1
TRAINING_STEPS = 1000

TINY = Sizes(
    image_px=256,
    context=384,
    width=80,
    mlp_width=160,
    layers=2,
    heads=4,
    max_positions=512,
    token_rows=TOKEN_ROWS + 1,
    planes=72,
    swin_width=16,
    swin_depths=(2, 2, 2, 2),
    swin_heads=(1, 2, 4, 8),
    swin_window=6,
    mask_width=64,
    mask_mlp_width=128,
    mask_queries=10,
)


def random_checkpoint(sizes: Sizes, seed: int) -> RandomCheckpoint:
    """All tensors of a PSALM of these sizes, made on demand."""
    return made_files.random_checkpoint(tensor_layout(sizes), sizes.swin_window, seed, _batch_norm)


def _batch_norm(name: str, noise: Tensor) -> Tensor | None:
    """Statistics that a norm may have seen."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(TRAINING_STEPS)
    if name.endswith("running_var"):
        return (VARIANCE_SPREAD * noise).exp()
    return MEAN_SPREAD * noise if name.endswith("running_mean") else None


def write_checkpoint(directory: Path, sizes: Sizes, seed: int) -> None:
    """A random checkpoint. The tokenizer has `TOKEN_ROWS` tokens and one; `sizes` must have room for them."""
    made_files.write_tensors(directory, random_checkpoint(sizes, seed), sizes.config())
    write_own_tokenizer(directory, sizes)


def write_own_tokenizer(directory: Path, sizes: Sizes) -> None:
    """The tokenizer of made checkpoints, which knows the words of the prompts, and bytes."""
    write_tokenizer(directory, sizes.max_positions, _training_text(), BASE_TOKENS, (PAD, SEG))


def _training_text() -> Iterator[str]:
    """The words every prompt holds, so that prompts stay short."""
    yield from (CLASS_PROMPT, REFERRING_PROMPT, REGION_PROMPT)
    yield " the man on the left, a cup of coffee, the cat's eyes, background"
