"""What the tensors of a HIPIE checkpoint do not tell, and where a user may say it."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hyperseg_runtime.errors import CheckpointError
from hyperseg_runtime.families.hipie.canvas import LONG_PX, SHORT_PX
from hyperseg_runtime.families.hipie.options import HipieOptions

EXTENSION_KEY = "hyperseg_trt"

Count = Annotated[int, Field(gt=0)]


class ReleaseConstants(BaseModel):
    """Defaults are the release's values. It has no config.json; one beside the checkpoint may hold others under the
    key "hyperseg_trt"."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    text_heads: Count = 12
    vit_heads: Count = 16
    mask_dino_queries: Count = 300
    heads: Count = 8
    """Of every other attention."""
    short_px: Count = SHORT_PX
    long_px: Count = LONG_PX
    options: HipieOptions = HipieOptions()
    """Switches of the post-processing; released configurations differ in them."""


def parse_config(content: Mapping[str, Any]) -> ReleaseConstants:
    """Raises CheckpointError naming the first setting that is unknown or impossible."""
    try:
        return ReleaseConstants.model_validate(content.get(EXTENSION_KEY, {}))
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(map(str, (EXTENSION_KEY, *first["loc"])))
        known = ", ".join(sorted(ReleaseConstants.model_fields))
        raise CheckpointError(
            f"config.json: {path} is {first['input']!r}: {first['msg']}; known keys: {known}"
        ) from error
