"""Models of random weights that are made when asked for: for gates, benchmarks and tests."""

from dataclasses import replace

from hyperseg_export.families.family import RandomModels
from hyperseg_export.families.instructseg.definition import DEFINITION
from hyperseg_export.families.instructseg.layout import Sizes
from hyperseg_export.families.instructseg.tiny import MADE, TINY
from hyperseg_export.model import SourceModel

FUSED_TINY = replace(TINY, heads=5, clip_heads=3, mask_layers=Sizes.mask_layers, pixel_layers=Sizes.pixel_layers)
"""Head widths are multiples of 8 from 16 on, as in the published model: others have no fused bf16 kernel.
All layers that the published model has, so that a gate meets what it builds."""
SMALL = replace(
    FUSED_TINY, image_px=64, layers=1, clip_layers=2, swin_depths=(1, 1, 1, 1), mask_layers=1, pixel_layers=1
)
FULL_LAYERS = 2

SIZES = {"small": SMALL, "tiny": FUSED_TINY, "full": replace(Sizes(), layers=FULL_LAYERS)}


def random_model_of(sizes: Sizes, seed: int) -> SourceModel:
    return DEFINITION.random_model(MADE.tensors(sizes, seed), sizes.config())


NOTES = {"full": f"{FULL_LAYERS} of 32 layers of the language model, everything else whole"}
RANDOM = RandomModels(SIZES, TINY, random_model_of, MADE.write, NOTES)
