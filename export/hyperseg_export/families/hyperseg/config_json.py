"""HyperSeg's config.json."""

from hyperseg_export.families.mask_queries import config_json as shared
from hyperseg_export.families.release_constants import Count


class ReleaseConstants(shared.ReleaseConstants):
    perceiver_heads: Count = 8
    reidentification: bool = False
    """Whether the mask decoder gives the embeddings by which objects of several frames are told apart, of a head that
    the release has and calls nowhere (hyperseg-spec 6.7)."""
    prompt_frames: Count = 1
    """Frames of a video over which what a prompt means is averaged (arXiv 2411.17606, equation 7); the release: one."""


class ConfigJson(shared.TowerConfig):
    hyperseg_trt: ReleaseConstants = ReleaseConstants()
