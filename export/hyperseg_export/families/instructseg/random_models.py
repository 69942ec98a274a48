"""Models of random weights that are made when asked for: for gates, benchmarks and tests."""

from dataclasses import replace
from pathlib import Path

from hyperseg_export.families.instructseg.config import InstructsegConfig
from hyperseg_export.families.instructseg.definition import definition_of
from hyperseg_export.families.instructseg.layout import Sizes
from hyperseg_export.families.instructseg.tiny import TINY, random_checkpoint, write_checkpoint
from hyperseg_export.model import SourceModel, bind_model

FUSED_TINY = replace(TINY, heads=5, clip_heads=3)
"""Head widths are multiples of 8 from 16 on, as in the published model: others have no fused bf16 kernel."""
SMALL = replace(
    FUSED_TINY, image_px=64, layers=1, clip_layers=2, swin_depths=(1, 1, 1, 1), mask_layers=1, pixel_layers=1
)
FULL_LAYERS = 2

SIZES = {"small": SMALL, "tiny": FUSED_TINY, "full": replace(Sizes(), layers=FULL_LAYERS)}
NOTES = {"full": f"{FULL_LAYERS} of 32 layers of the language model, everything else whole"}


def random_model(size: str, seed: int) -> SourceModel:
    """`size` is one of `SIZES`."""
    return random_model_of(SIZES[size], seed)


def write_random(directory: Path, size: str, seed: int) -> None:
    """A checkpoint in the layout of the published one; the tiny one is `make-tiny`'s."""
    write_checkpoint(directory, TINY if size == "tiny" else SIZES[size], seed)


def random_model_of(sizes: Sizes, seed: int) -> SourceModel:
    source = random_checkpoint(sizes, seed)
    config = InstructsegConfig.from_checkpoint(sizes.config(), source.shapes)
    return bind_model("instructseg", definition_of(config, seg=sizes.token_rows - 1, eos=0, files={}), source)
