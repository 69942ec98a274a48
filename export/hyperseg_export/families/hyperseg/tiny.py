"""A HyperSeg checkpoint in miniature: the published layout, random weights, a tokenizer of its own."""

from collections.abc import Iterator
from pathlib import Path

from hyperseg_export.checkpoint.random_weights import RandomCheckpoint
from hyperseg_export.families.hyperseg.layout import Sizes, tensor_layout
from hyperseg_export.families.mask_queries import made_files
from hyperseg_export.families.mask_queries.made_tokenizer import BASE_TOKENS, TOKEN_ROWS, write_tokenizer
from hyperseg_runtime.families.hyperseg.prompts import TEMPLATES
from hyperseg_runtime.families.mask_queries.prompts import SYSTEM

TINY = Sizes(
    image_px=256,
    context=384,
    width=80,
    mlp_width=160,
    layers=2,
    heads=4,
    max_positions=512,
    token_rows=TOKEN_ROWS,
    logit_rows=512,
    clip_width=48,
    clip_mlp_width=96,
    clip_layers=3,
    clip_heads=4,
    clip_image_px=76,
    swin_width=16,
    swin_depths=(2, 2, 2, 2),
    swin_heads=(1, 2, 4, 8),
    swin_window=6,
    perceiver_width=64,
    perceiver_queries=12,
    mask_width=64,
    mask_mlp_width=128,
    mask_queries=10,
)


def random_checkpoint(sizes: Sizes, seed: int) -> RandomCheckpoint:
    """All tensors of a HyperSeg of these sizes, made on demand."""
    return made_files.random_checkpoint(tensor_layout(sizes), sizes.swin_window, seed)


def write_checkpoint(directory: Path, sizes: Sizes, seed: int) -> None:
    """A random checkpoint. The tokenizer has `TOKEN_ROWS` tokens; `sizes` must have room for them."""
    made_files.write_tensors(directory, random_checkpoint(sizes, seed), sizes.config())
    write_own_tokenizer(directory, sizes)


def write_own_tokenizer(directory: Path, sizes: Sizes) -> None:
    """The tokenizer of made checkpoints, which knows the words of the prompts, and bytes."""
    write_tokenizer(directory, sizes.max_positions, _training_text(), BASE_TOKENS)


def _training_text() -> Iterator[str]:
    """The words every prompt holds, so that prompts stay short."""
    yield SYSTEM
    for template in TEMPLATES.values():
        yield template.human
        yield template.answer
    yield " USER: ASSISTANT: the man on the left, a cup of coffee, the cat's eyes"
