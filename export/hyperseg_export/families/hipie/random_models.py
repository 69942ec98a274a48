"""Models of random weights that are made when asked for: for gates, benchmarks and tests."""

from dataclasses import replace

from hyperseg_export.families.family import RandomModels
from hyperseg_export.families.hipie.config import HipieConfig
from hyperseg_export.families.hipie.definition import definition_of
from hyperseg_export.families.hipie.layout import Sizes
from hyperseg_export.families.hipie.tiny import TINY, TiedCheckpoint, write_checkpoint
from hyperseg_export.model import SourceModel, bind_model

FUSED_TINY = replace(TINY, text_width=64, width=128)
"""Head widths are multiples of 8 from 16 on, as in the published model: others have no fused kernel in half
precision."""

SMALL = replace(FUSED_TINY, text_layers=1, encoder_layers=1, vector_encoder_layers=1)
"""One layer of everything, but for decoders: boxes are read before and after the last of their layers."""

SIZES = {"small": SMALL, "tiny": FUSED_TINY, "full": Sizes()}


def random_model_of(sizes: Sizes, seed: int) -> SourceModel:
    source = TiedCheckpoint(sizes, seed)
    config = HipieConfig.from_checkpoint(sizes.config(), source.shapes)
    return bind_model("hipie", definition_of(config, {}), source)


RANDOM = RandomModels(SIZES, TINY, random_model_of, write_checkpoint)
