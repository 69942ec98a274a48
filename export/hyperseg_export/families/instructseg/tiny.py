"""An InstructSeg checkpoint in miniature: the published layout, random weights, a tokenizer of its own."""

from collections.abc import Iterator

from hyperseg_export.families.instructseg.layout import Sizes, tensor_layout
from hyperseg_export.families.mask_queries.made_checkpoints import MadeCheckpoints
from hyperseg_export.families.mask_queries.made_tokenizer import TOKEN_ROWS
from hyperseg_runtime.families.instructseg.prompts import TEMPLATES
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
    perceiver_inner=128,
    perceiver_queries=12,
    fusion_width=72,
    fusion_inner=192,
    mask_width=64,
    mask_mlp_width=128,
    mask_queries=10,
    mask_layers=3,  # one for each level of the pyramid, as often as the levels take turns
    pixel_layers=2,
)
"""Widths that are equal in the published model differ here."""


def _training_text() -> Iterator[str]:
    """The words every prompt holds, so that prompts stay short."""
    yield SYSTEM
    for template in TEMPLATES.values():
        yield template.human
        yield template.answer
    yield " USER: ASSISTANT: the man on the left, a cup of coffee, the cat's eyes"


MADE = MadeCheckpoints(tensor_layout, Sizes.config, _training_text)
