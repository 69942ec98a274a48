"""PSALM's config.json."""

from typing import Literal

from hyperseg_export.families.mask_queries.config_json import LanguageConfig


class ConfigJson(LanguageConfig):
    mm_projector_type: Literal["swin_conv"] = "swin_conv"
    """The release can also be built with other projectors; it is published with this one."""
