"""The graphs that families share, for their dimensions."""

from hyperseg_kernels.catalog import DEFORMABLE_ATTENTION, MASK_READOUT, PILLOW_RESIZE
from hyperseg_kernels.mask_readout.axis import TAPS
from hyperseg_kernels.pillow_resize.axis import most_taps
from hyperseg_runtime.contracts.graph_spec import AxisRange, DType, GraphSpec, Reuse, TensorSpec
from hyperseg_runtime.families.mask_queries.dimensions import MaskQueryDimensions
from hyperseg_runtime.images.resize_tables import table_specs

STRIDES = (32, 16, 8)
"""Strides of the maps the mask decoder looks at, in the order its layers visit them."""


DECODED_MAPS = (
    "mask_features",
    *(f"mask_features_s{stride}" for stride in STRIDES),
    *(f"encoded_s{stride}" for stride in STRIDES),
)
"""What the pixel decoder hands to the mask decoder."""


BATCH = AxisRange(minimum=1, typical=1, maximum=8)
TYPICAL_TEXT_TOKENS = 83  # 69 of the referring template and an expression of 14
CONDITIONS = AxisRange(minimum=1, typical=1, maximum=256)
READ_CONDITIONS = AxisRange(minimum=1, typical=1, maximum=8)
DEVICE_PX = AxisRange(minimum=1, typical=1024, maximum=2048)
"""Sides of images that a device prepares and reads masks of; an engine sets memory aside for the largest. The host does
what is larger or more.
"""


def cache_names(layer: int) -> tuple[str, str, str, str]:
    """Inputs and outputs of one layer's cache: past key, past value, present key, present value."""
    return f"past_key.{layer}", f"past_value.{layer}", f"present_key.{layer}", f"present_value.{layer}"


def float_tensor(name: str, *axes: int | str) -> TensorSpec:
    return TensorSpec(name=name, dtype=DType.FLOAT32, axes=axes)


def feature_maps(dims: MaskQueryDimensions) -> tuple[TensorSpec, ...]:
    """Encoder maps res2 (stride 4) to res5 (stride 32)."""
    return tuple(
        float_tensor(f"res{level}", "batch", channels, *shape)
        for level, (channels, shape) in enumerate(zip(dims.map_channels, dims.map_shapes, strict=True), 2)
    )


def decoded_maps(dims: MaskQueryDimensions) -> tuple[TensorSpec, ...]:
    finest, *coarser = dims.map_shapes
    levels = tuple(reversed(coarser))
    return tuple(
        float_tensor(name, "batch", dims.mask_width, *shape)
        for name, shape in zip(DECODED_MAPS, (finest, *levels, *levels), strict=True)
    )


def preprocess(dims: MaskQueryDimensions) -> GraphSpec:
    """Encoders' images from the pixels as they are, the bytes between them those of Pillow; for backends whose tensors
    are far from the host.
    """
    square = dims.image_px
    ranges = {"batch": BATCH, "pixels_height": DEVICE_PX, "pixels_width": DEVICE_PX}
    ranges |= {axis: AxisRange(minimum=1, typical=square, maximum=square) for axis in ("rows", "columns")}
    tables: list[TensorSpec] = []
    for image in dims.encoder_images:
        name, side = image.name, image.side_px
        tables += table_specs(name, *image.resized_axes)
        tallest = max(side, DEVICE_PX.maximum)
        ranges[f"{name}_first_rows"] = AxisRange(minimum=1, typical=DEVICE_PX.typical, maximum=tallest)
        usual, most = (most_taps(px, side, image.filter) for px in (DEVICE_PX.typical, DEVICE_PX.maximum))
        for part, typical in (("first_row", 1), ("column", usual), ("last_row", usual)):
            ranges[f"{name}_{part}_taps"] = AxisRange(minimum=1, typical=typical, maximum=most)
    return GraphSpec(
        name="preprocess",
        inputs=(
            TensorSpec(name="pixels", dtype=DType.UINT8, axes=("batch", "pixels_height", "pixels_width", 3)),
            *tables,
        ),
        outputs=tuple(
            float_tensor(image.name, "batch", 3, image.side_px, image.side_px) for image in dims.encoder_images
        ),
        axis_ranges=ranges,
        reuse=Reuse.PIXELS,
        custom_ops=(str(PILLOW_RESIZE),),
        exact=True,
    )


def image_encoder(dims: MaskQueryDimensions) -> GraphSpec:
    return GraphSpec(
        name="image_encoder",
        inputs=(float_tensor("images", "batch", 3, dims.image_px, dims.image_px),),
        outputs=feature_maps(dims),
        axis_ranges={"batch": BATCH},
        reuse=Reuse.IMAGE,
    )


def clip_encoder(dims: MaskQueryDimensions, clip_image_px: int) -> GraphSpec:
    """The tower of the language branch, to rows that the language model reads."""
    return GraphSpec(
        name="clip_encoder",
        inputs=(float_tensor("images_clip", "batch", 3, clip_image_px, clip_image_px),),
        outputs=(float_tensor("image_tokens", "batch", dims.image_tokens, dims.width),),
        axis_ranges={"batch": BATCH},
        reuse=Reuse.IMAGE,
    )


def llm(dims: MaskQueryDimensions) -> GraphSpec:
    """A row sees the cache slots of two ranges, each from a start to before an end. Attention looks at the slots that
    are numbered, 0 and up, and at none behind them.
    """
    past: list[TensorSpec] = []
    present: list[TensorSpec] = []
    for layer in range(dims.layers):
        names = cache_names(layer)
        cache = ("batch", dims.cache_heads, dims.context, dims.head_width)
        past += (float_tensor(name, *cache) for name in names[:2])
        present += (float_tensor(name, *cache) for name in names[2:])
    return GraphSpec(
        name="llm",
        inputs=(
            float_tensor("inputs_embeds", "batch", "tokens", dims.width),
            TensorSpec(name="position_ids", dtype=DType.INT64, axes=("batch", "tokens")),
            TensorSpec(name="attended_slots", dtype=DType.INT64, axes=("batch", "tokens", 2, 2)),
            TensorSpec(name="slot_numbers", dtype=DType.INT64, axes=("slots",)),
            TensorSpec(name="write_indices", dtype=DType.INT64, axes=("batch",)),
            *past,
        ),
        outputs=(float_tensor("hidden_states", "batch", "tokens", dims.width), *present),
        axis_ranges={"batch": BATCH, "tokens": tokens_of_a_call(dims), "slots": tokens_of_a_call(dims)},
        reuse=Reuse.PROMPT,
        in_place={new.name: old.name for new, old in zip(present, past, strict=True)},
    )


def tokens_of_a_call(dims: MaskQueryDimensions) -> AxisRange:
    """A call may hold one token (decode) up to the whole cache (prefill)."""
    typical = min(dims.fixed_rows + TYPICAL_TEXT_TOKENS, dims.context)
    return AxisRange(minimum=1, typical=typical, maximum=dims.context)


def lm_head(dims: MaskQueryDimensions, logit_rows: int) -> GraphSpec:
    """`logit_rows`: ids that it scores."""
    return GraphSpec(
        name="lm_head",
        inputs=(
            float_tensor("hidden_states", "batch", "tokens", dims.width),
            TensorSpec(name="scored_rows", dtype=DType.INT64, axes=("batch",)),
        ),
        outputs=(float_tensor("logits", "batch", logit_rows),),
        axis_ranges={"batch": BATCH, "tokens": tokens_of_a_call(dims)},
        reuse=Reuse.TOKEN,
    )


def pixel_decoder(dims: MaskQueryDimensions) -> GraphSpec:
    return GraphSpec(
        name="pixel_decoder",
        inputs=feature_maps(dims),
        outputs=decoded_maps(dims),
        axis_ranges={"batch": BATCH},
        reuse=Reuse.IMAGE,
        custom_ops=(str(DEFORMABLE_ATTENTION),),
    )


def mask_decoder_inputs(dims: MaskQueryDimensions) -> tuple[TensorSpec, ...]:
    """Maps and hidden states. Those of the mask queries are picked by their rows, those of a condition averaged from a
    start to before an end.
    """
    return (
        *decoded_maps(dims),
        float_tensor("hidden_states", "batch", "tokens", dims.width),
        TensorSpec(name="query_rows", dtype=DType.INT64, axes=("batch", dims.mask_queries)),
        TensorSpec(name="condition_spans", dtype=DType.INT64, axes=("batch", "conditions", 2)),
    )


def mask_logits(dims: MaskQueryDimensions) -> TensorSpec:
    return float_tensor("mask_logits", "batch", dims.mask_queries, *dims.map_shapes[0])


def condition_logits(dims: MaskQueryDimensions, name: str = "score_logits") -> TensorSpec:
    """How well each query fits each condition."""
    return float_tensor(name, "batch", dims.mask_queries, "conditions")


def mask_readout(dims: MaskQueryDimensions) -> GraphSpec:
    """The best mask of every condition, in bits, for backends whose tensors are far from the host."""
    return GraphSpec(
        name="mask_readout",
        inputs=(
            mask_logits(dims),
            condition_logits(dims),
            float_tensor("hidden_states", "batch", "tokens", dims.width),
            TensorSpec(name="row_index", dtype=DType.INT64, axes=(TAPS, "image_height")),
            float_tensor("row_weight", TAPS, "image_height"),
            TensorSpec(name="column_index", dtype=DType.INT64, axes=(TAPS, "image_width")),
            float_tensor("column_weight", TAPS, "image_width"),
        ),
        outputs=(
            TensorSpec(name="best_queries", dtype=DType.INT64, axes=("batch", "conditions")),
            float_tensor("best_scores", "batch", "conditions"),
            TensorSpec(
                name="mask_bits",
                dtype=DType.UINT8,
                axes=("batch", "conditions", "image_height", "ceil(image_width / 8)"),
            ),
            TensorSpec(name="finite", dtype=DType.BOOL, axes=("batch",)),
        ),
        axis_ranges={
            "batch": BATCH,
            "conditions": READ_CONDITIONS,
            "tokens": tokens_of_a_call(dims),
            "image_height": DEVICE_PX,
            "image_width": DEVICE_PX,
        },
        reuse=Reuse.PROMPT,
        custom_ops=(str(MASK_READOUT),),
        exact=True,
    )
