"""The sizes of PSALM as published (psalm-spec 1 and 9)."""

from hyperseg_runtime.families.psalm.spec import PsalmDimensions

PUBLISHED = PsalmDimensions(
    image_px=1024,
    image_tokens=256,
    map_channels=(128, 256, 512, 1024),
    map_shapes=((256, 256), (128, 128), (64, 64), (32, 32)),
    width=2048,
    layers=24,
    cache_heads=32,
    head_width=64,
    context=1280,
    mask_queries=100,
    mask_width=256,
    token_rows=50297,
    seg_token_id=50296,
    eos_token_id=50256,
)
