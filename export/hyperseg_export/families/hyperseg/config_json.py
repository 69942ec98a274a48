"""HyperSeg's config.json."""

from hyperseg_export.families.mask_queries import config_json as shared


class ReleaseConstants(shared.ReleaseConstants):
    perceiver_heads: shared.Count = 8


class ConfigJson(shared.TowerConfig):
    hyperseg_trt: ReleaseConstants = ReleaseConstants()
