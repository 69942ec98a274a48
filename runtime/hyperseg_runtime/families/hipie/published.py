"""HIPIE's published dimensions, those of the checkpoint with ResNet-50 (hipie-spec 1, 3 and 16)."""

from hyperseg_runtime.families.hipie.canvas import LONG_PX, SHORT_PX
from hyperseg_runtime.families.hipie.spec import HipieDimensions

PUBLISHED = HipieDimensions(
    short_px=SHORT_PX,
    long_px=LONG_PX,
    size_multiple=1,
    map_channels=(512, 1024, 2048),
    token_rows=30_522,
    piece_words=512,
    text_width=768,
    levels=4,
    width=256,
    proposals=900,
    background=10,
    mask_channels=8,
    mask_parameters=169,
    vector_width=256,
    vectors=300,
)
