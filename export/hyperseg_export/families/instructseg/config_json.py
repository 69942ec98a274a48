"""InstructSeg's config.json."""

from typing import Annotated

from pydantic import Field

from hyperseg_export.families.mask_queries import config_json as shared
from hyperseg_export.families.release_constants import Count


class ReleaseConstants(shared.ReleaseConstants):
    perceiver_heads: Count = 8
    fusion_heads: Count = 8
    reference_frames: Annotated[int, Field(ge=0, multiple_of=2)] = 4
    """Half of them before a key frame, half after it (instructseg-spec 2)."""


class ConfigJson(shared.TowerConfig):
    hyperseg_trt: ReleaseConstants = ReleaseConstants()
