"""What the tensors of a HIPIE checkpoint do not tell."""

from hyperseg_export.families import release_constants as shared
from hyperseg_runtime.families.hipie.canvas import LONG_PX, SHORT_PX
from hyperseg_runtime.families.hipie.options import HipieOptions


class ReleaseConstants(shared.ReleaseConstants):
    """Defaults are the release's values."""

    text_heads: shared.Count = 12
    vit_heads: shared.Count = 16
    mask_dino_queries: shared.Count = 300
    heads: shared.Count = 8
    """Of every other attention."""
    short_px: shared.Count = SHORT_PX
    long_px: shared.Count = LONG_PX
    options: HipieOptions = HipieOptions()
    """Switches of the post-processing; released configurations differ in them."""
