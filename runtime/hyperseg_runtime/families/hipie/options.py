"""The switches of HIPIE's post-processing, by the release's names (hipie-spec 13)."""

from pydantic import BaseModel, ConfigDict, Field


class HipieOptions(BaseModel):
    """Defaults are those of the released r50.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_pool: bool = False
    """A class is as likely as its likeliest token, and not as the mean of its tokens."""
    mode_free_inference: bool = False
    """Every query may be of every class."""
    bg_cls_agnostic: bool = False
    """Queries of Mask DINO may be things too."""
    use_bg_for_pano: bool = False
    """Maps are made of Mask DINO's queries alone, which then may be of every class."""
    transform_eval: bool = True
    """Probabilities of maps are a softmax of sigmoids over `pano_temp`, and not the sigmoids themselves."""
    pano_temp: float = Field(default=0.06, gt=0)
    object_mask_threshold: float = Field(default=0.25, ge=0, le=1)
    """A query takes part in a panoptic map if the probability of its class exceeds it."""
    overlap_threshold: float = Field(default=0.8, ge=0, le=1)
    """A query keeps its pixels if at least this share of its mask is left to it."""
    mask_thres: float = Field(default=0.5, gt=0, lt=1)
    max_overlap: float = Field(default=0.7, ge=0, le=1)
    """Boxes of one class that overlap more are one object."""
    most: int = Field(default=100, ge=1)
    """Instances of an image."""
    use_coarse: bool = False
    """Parts have the release's 57 coarser names, and not its 200, where a request brings none of its own."""
