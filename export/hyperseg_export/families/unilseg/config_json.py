"""What the tensors of a UniLSeg checkpoint do not tell."""

from typing import Annotated

from pydantic import Field

from hyperseg_export.families import release_constants as shared


class ReleaseConstants(shared.ReleaseConstants):
    """Defaults are the release's values (unilseg-spec 2)."""

    image_px: shared.Count = 480
    words: Annotated[int, Field(gt=1)] = 17
