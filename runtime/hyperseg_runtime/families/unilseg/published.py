"""UniLSeg's published dimensions (UniLSeg20_no_finetune.pth; unilseg-spec 2 and 12)."""

from hyperseg_runtime.families.unilseg.spec import UnilsegDimensions

PUBLISHED = UnilsegDimensions(
    image_px=480,
    words=17,
    token_rows=49_408,
    start_token_id=49_406,
    end_token_id=49_407,
    word_width=512,
    state_width=512,
    map_channels=(128, 256, 512, 1024),
    map_shapes=((120, 120), (60, 60), (30, 30), (15, 15)),
)
