"""The sizes of InstructSeg-3B as published."""

from hyperseg_runtime.families.instructseg.spec import InstructsegDimensions

PUBLISHED = InstructsegDimensions(
    image_px=1024,
    clip_image_px=384,
    image_tokens=729,
    map_channels=(128, 256, 512, 1024),
    map_shapes=((256, 256), (128, 128), (64, 64), (32, 32)),
    width=2560,
    layers=32,
    cache_heads=32,
    head_width=80,
    context=1536,
    perceiver_queries=128,
    perceiver_media_width=6144,
    fusion_media_width=6144,
    reference_frames=4,
    mask_queries=100,
    mask_width=256,
    token_rows=50296,
    logit_rows=51200,
    seg_token_id=50295,
    eos_token_id=50256,
)
