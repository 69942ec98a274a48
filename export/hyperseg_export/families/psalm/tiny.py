"""A PSALM checkpoint in miniature: the published layout, random weights, a tokenizer of its own."""

from collections.abc import Iterator

from hyperseg_export.checkpoint.random_weights import batch_norm_statistics
from hyperseg_export.families.mask_queries.made_checkpoints import MadeCheckpoints
from hyperseg_export.families.mask_queries.made_tokenizer import SEG, TOKEN_ROWS
from hyperseg_export.families.psalm.layout import Sizes, tensor_layout
from hyperseg_runtime.families.psalm.prompts import CLASS_PROMPT, REFERRING_PROMPT, REGION_PROMPT

PAD = "[PAD]"

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
    mask_layers=3,  # one for each level of the pyramid, as often as the levels take turns
    pixel_layers=2,
)


def _training_text() -> Iterator[str]:
    """The words every prompt holds, so that prompts stay short."""
    yield from (CLASS_PROMPT, REFERRING_PROMPT, REGION_PROMPT)
    yield " the man on the left, a cup of coffee, the cat's eyes, background"


MADE = MadeCheckpoints(tensor_layout, Sizes.config, _training_text, (PAD, SEG), batch_norm_statistics)
