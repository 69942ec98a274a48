"""Models of random weights that are made when asked for: for gates, benchmarks and tests."""

from dataclasses import replace

from hyperseg_export.families.unilseg.config import UnilsegConfig
from hyperseg_export.families.unilseg.definition import definition_of
from hyperseg_export.families.unilseg.layout import Sizes
from hyperseg_export.families.unilseg.tiny import TINY, random_checkpoint
from hyperseg_export.model import SourceModel, bind_model

SMALL = replace(TINY, image_px=64, swin_depths=(1, 1, 1, 1), text_layers=1, decoder_layers=1)
"""One layer of everything."""

SIZES = {"small": SMALL, "tiny": TINY, "full": Sizes()}
NOTES: dict[str, str] = {}


def random_model(size: str, seed: int) -> SourceModel:
    """`size` is one of `SIZES`."""
    return random_model_of(SIZES[size], seed)


def random_model_of(sizes: Sizes, seed: int) -> SourceModel:
    source = random_checkpoint(sizes, seed)
    config = UnilsegConfig.from_checkpoint(sizes.config(), source.shapes)
    return bind_model("unilseg", definition_of(config, {}), source)
