"""A HyperSeg of any size with random weights that are made when asked for: no folder, no tokenizer."""

from hyperseg_export.families.hyperseg.config import HypersegConfig
from hyperseg_export.families.hyperseg.definition import definition_of
from hyperseg_export.families.hyperseg.layout import Sizes
from hyperseg_export.families.hyperseg.tiny import random_checkpoint
from hyperseg_export.model import SourceModel, bind_model


def random_model(sizes: Sizes, seed: int = 0) -> SourceModel:
    """The first token ends a text, the last one stands for a mask."""
    source = random_checkpoint(sizes, seed)
    config = HypersegConfig.from_checkpoint(sizes.config(), source.shapes)
    return bind_model("hyperseg", definition_of(config, seg=sizes.token_rows - 1, eos=0, files={}), source)
