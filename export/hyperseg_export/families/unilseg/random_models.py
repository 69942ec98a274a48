"""Models of random weights that are made when asked for: for gates, benchmarks and tests."""

from dataclasses import replace

from hyperseg_export.families.family import RandomModels
from hyperseg_export.families.unilseg.config import UnilsegConfig
from hyperseg_export.families.unilseg.definition import definition_of
from hyperseg_export.families.unilseg.layout import Sizes
from hyperseg_export.families.unilseg.tiny import TINY, random_checkpoint, write_checkpoint
from hyperseg_export.model import SourceModel, bind_model

SMALL = replace(
    TINY,
    image_px=64,
    swin_depths=(1, 1, 1, 1),
    text_layers=1,
    decoder_layers=1,
    width=128,
    swin_width=128,
    swin_heads=(4, 8, 16, 32),
    mask_width=128,
)
"""One layer of everything. Head widths are multiples of 8 from 16 on, as in the published model: TensorRT-RTX 1.7.1 has
no fused kernel for others in half precision, and crashes on the narrowest."""

FUSED_TINY = replace(TINY, width=128, swin_width=128, swin_heads=(4, 8, 16, 32), mask_width=128)

SIZES = {"small": SMALL, "tiny": FUSED_TINY, "full": Sizes()}


def random_model_of(sizes: Sizes, seed: int) -> SourceModel:
    source = random_checkpoint(sizes, seed)
    config = UnilsegConfig.from_checkpoint(sizes.config(), source.shapes)
    return bind_model("unilseg", definition_of(config, {}), source)


RANDOM = RandomModels(SIZES, TINY, random_model_of, write_checkpoint)
