"""The smallest UniLSeg models, planned without a checkpoint on disk."""

import functools
import json
from dataclasses import replace
from pathlib import Path

from hyperseg_export.families.unilseg.config import UnilsegConfig
from hyperseg_export.families.unilseg.definition import definition_of
from hyperseg_export.families.unilseg.layout import Sizes
from hyperseg_export.families.unilseg.tiny import TINY, random_checkpoint
from hyperseg_export.model import SourceModel, bind_model

GOLDEN = Path(__file__).parent / "golden" / "unilseg"

SMALL = replace(TINY, image_px=64, token_rows=512, swin_depths=(1, 1, 1, 1), text_layers=1, decoder_layers=1)
"""One layer of everything."""
FUSED = replace(SMALL, width=128, swin_width=128, swin_heads=(4, 8, 16, 32), mask_width=128)
"""Head widths are multiples of 8 from 16 on, as in the published model: others have no fused kernel."""


@functools.cache
def planned(sizes: Sizes) -> SourceModel:
    source = random_checkpoint(sizes, seed=0)
    return bind_model(
        "unilseg", definition_of(UnilsegConfig.from_checkpoint(sizes.config(), source.shapes), {}), source
    )


def published() -> dict[str, tuple[tuple[int, ...], str]]:
    """Names of the full-size model -> (shape, dtype)."""
    stored = json.loads((GOLDEN / "real_state_dict.json").read_text(encoding="utf-8"))["keys"]
    return {name: (tuple(shape), dtype) for name, (shape, dtype) in stored.items()}
