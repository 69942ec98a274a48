"""The graphs of HyperSeg and the dimensions they depend on."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from hyperseg_kernels.catalog import DEFORMABLE_ATTENTION, MASK_READOUT, PILLOW_RESIZE
from hyperseg_kernels.mask_readout.axis import TAPS
from hyperseg_kernels.pillow_resize.axis import Filter, most_taps
from hyperseg_runtime.contracts.axes import Axis
from hyperseg_runtime.contracts.graph_spec import AxisRange, DType, GraphSpec, Reuse, TensorSpec
from hyperseg_runtime.images.resize_tables import table_specs

TOKENS, MASK_QUERIES, LATENTS = "tokens", "mask_queries", "latents"
"""Tables that the host reads: token embeddings, the learned mask queries, the latents of a first frame."""

STRIDES = (32, 16, 8)
"""Strides of the maps the mask decoder looks at, in the order its layers visit them."""


DECODED_MAPS = (
    "mask_features",
    *(f"mask_features_s{stride}" for stride in STRIDES),
    *(f"encoded_s{stride}" for stride in STRIDES),
)
"""What the pixel decoder hands to the mask decoder."""


Size = Annotated[int, Field(ge=1, le=10_000_000)]
MapShape = tuple[Size, Size]


class HypersegDimensions(BaseModel):
    """Every size the runtime needs; what only a network's inside needs stays in the exporter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_px: Size  # side of the padded square for the mask branch
    clip_image_px: Size  # side of the square for the language branch
    image_tokens: Size
    map_channels: tuple[Size, Size, Size, Size]  # res2, res3, res4, res5
    map_shapes: tuple[MapShape, MapShape, MapShape, MapShape]  # (height, width) of res2..res5
    width: Size  # language model
    layers: Annotated[int, Field(ge=1, le=1000)]
    cache_heads: Size
    head_width: Size
    context: Size  # cache slots: the longest prompt plus answer
    perceiver_queries: Size
    perceiver_width: Size
    mask_queries: Size
    mask_width: Size
    token_rows: Size  # ids that have an input embedding
    logit_rows: Size  # ids the language head scores
    seg_token_id: Annotated[int, Field(ge=0)]
    eos_token_id: Annotated[int, Field(ge=0)]

    def tables(self) -> dict[str, tuple[int, int]]:
        """Rows and width of the host's tables."""
        return {
            TOKENS: (self.token_rows, self.width),
            MASK_QUERIES: (self.mask_queries, self.width),
            LATENTS: (self.perceiver_queries, self.perceiver_width),
        }


BATCH = AxisRange(minimum=1, typical=1, maximum=8)
TYPICAL_TEXT_TOKENS = 83  # 69 of the referring template and an expression of 14
CONDITIONS = AxisRange(minimum=1, typical=1, maximum=256)
READ_CONDITIONS = AxisRange(minimum=1, typical=1, maximum=8)
DEVICE_PX = AxisRange(minimum=1, typical=1024, maximum=2048)
"""Sides of images that a device prepares and reads masks of; an engine sets memory aside for the largest. The host does
what is larger or more.
"""
RESIZES = {"images": Filter.BILINEAR, "images_clip": Filter.BICUBIC}
"""Input of an encoder -> how its pixels are resized (hyperseg-spec 3.1, 3.2)."""


def cache_names(layer: int) -> tuple[str, str, str, str]:
    """Inputs and outputs of one layer's cache: past key, past value, present key, present value."""
    return f"past_key.{layer}", f"past_value.{layer}", f"present_key.{layer}", f"present_value.{layer}"


def graph_specs(dims: HypersegDimensions) -> tuple[GraphSpec, ...]:
    """The nine graphs in an order in which each one's inputs are known."""
    return (
        _preprocess(dims),
        _image_encoder(dims),
        _clip_encoder(dims),
        _fvp(dims),
        _llm(dims),
        _lm_head(dims),
        _pixel_decoder(dims),
        _mask_decoder(dims),
        _mask_readout(dims),
    )


def _float(name: str, *axes: int | str) -> TensorSpec:
    return TensorSpec(name=name, dtype=DType.FLOAT32, axes=axes)


def _feature_maps(dims: HypersegDimensions) -> tuple[TensorSpec, ...]:
    """Encoder maps res2 (stride 4) to res5 (stride 32)."""
    return tuple(
        _float(f"res{level}", "batch", channels, *shape)
        for level, (channels, shape) in enumerate(zip(dims.map_channels, dims.map_shapes, strict=True), 2)
    )


def _decoded_maps(dims: HypersegDimensions) -> tuple[TensorSpec, ...]:
    finest, *coarser = dims.map_shapes
    levels = tuple(reversed(coarser))
    return tuple(
        _float(name, "batch", dims.mask_width, *shape)
        for name, shape in zip(DECODED_MAPS, (finest, *levels, *levels), strict=True)
    )


def _preprocess(dims: HypersegDimensions) -> GraphSpec:
    """Both encoders' images from the pixels as they are, the bytes between them those of Pillow; for backends whose
    tensors are far from the host.
    """
    square, clip = dims.image_px, dims.clip_image_px
    sizes: tuple[tuple[int, Axis, Axis], ...] = ((square, "rows", "columns"), (clip, clip, clip))
    names = zip(RESIZES, sizes, strict=True)
    ranges = {"batch": BATCH, "pixels_height": DEVICE_PX, "pixels_width": DEVICE_PX}
    ranges |= {axis: AxisRange(minimum=1, typical=square, maximum=square) for axis in ("rows", "columns")}
    tables: list[TensorSpec] = []
    for name, (side, rows, columns) in names:
        tables += table_specs(name, rows, columns)
        tallest = max(side, DEVICE_PX.maximum)
        ranges[f"{name}_first_rows"] = AxisRange(minimum=1, typical=DEVICE_PX.typical, maximum=tallest)
        usual, most = (most_taps(px, side, RESIZES[name]) for px in (DEVICE_PX.typical, DEVICE_PX.maximum))
        for part, typical in (("first_row", 1), ("column", usual), ("last_row", usual)):
            ranges[f"{name}_{part}_taps"] = AxisRange(minimum=1, typical=typical, maximum=most)
    return GraphSpec(
        name="preprocess",
        inputs=(
            TensorSpec(name="pixels", dtype=DType.UINT8, axes=("batch", "pixels_height", "pixels_width", 3)),
            *tables,
        ),
        outputs=(
            _float("images", "batch", 3, square, square),
            _float("images_clip", "batch", 3, clip, clip),
        ),
        axis_ranges=ranges,
        reuse=Reuse.PIXELS,
        custom_ops=(str(PILLOW_RESIZE),),
        exact=True,
    )


def _image_encoder(dims: HypersegDimensions) -> GraphSpec:
    return GraphSpec(
        name="image_encoder",
        inputs=(_float("images", "batch", 3, dims.image_px, dims.image_px),),
        outputs=_feature_maps(dims),
        axis_ranges={"batch": BATCH},
        reuse=Reuse.IMAGE,
    )


def _clip_encoder(dims: HypersegDimensions) -> GraphSpec:
    return GraphSpec(
        name="clip_encoder",
        inputs=(_float("images_clip", "batch", 3, dims.clip_image_px, dims.clip_image_px),),
        outputs=(_float("image_tokens", "batch", dims.image_tokens, dims.width),),
        axis_ranges={"batch": BATCH},
        reuse=Reuse.IMAGE,
    )


def _fvp(dims: HypersegDimensions) -> GraphSpec:
    return GraphSpec(
        name="fvp",
        inputs=(
            *_feature_maps(dims)[1:],
            _float("latents", "batch", dims.perceiver_queries, dims.perceiver_width),
        ),
        outputs=(_float("fvp_tokens", "batch", dims.perceiver_queries, dims.width),),
        axis_ranges={"batch": BATCH},
        reuse=Reuse.IMAGE,
    )


def _llm(dims: HypersegDimensions) -> GraphSpec:
    """A row sees the cache slots of two ranges, each from a start to before an end. Attention looks at the slots that
    are numbered, 0 and up, and at none behind them.
    """
    past: list[TensorSpec] = []
    present: list[TensorSpec] = []
    for layer in range(dims.layers):
        names = cache_names(layer)
        cache = ("batch", dims.cache_heads, dims.context, dims.head_width)
        past += (_float(name, *cache) for name in names[:2])
        present += (_float(name, *cache) for name in names[2:])
    return GraphSpec(
        name="llm",
        inputs=(
            _float("inputs_embeds", "batch", "tokens", dims.width),
            TensorSpec(name="position_ids", dtype=DType.INT64, axes=("batch", "tokens")),
            TensorSpec(name="attended_slots", dtype=DType.INT64, axes=("batch", "tokens", 2, 2)),
            TensorSpec(name="slot_numbers", dtype=DType.INT64, axes=("slots",)),
            TensorSpec(name="write_indices", dtype=DType.INT64, axes=("batch",)),
            *past,
        ),
        outputs=(_float("hidden_states", "batch", "tokens", dims.width), *present),
        axis_ranges={"batch": BATCH, "tokens": _tokens(dims), "slots": _tokens(dims)},
        reuse=Reuse.PROMPT,
        in_place={new.name: old.name for new, old in zip(present, past, strict=True)},
    )


def _tokens(dims: HypersegDimensions) -> AxisRange:
    """A call may hold one token (decode) up to the whole cache (prefill)."""
    visual = dims.image_tokens + dims.perceiver_queries + dims.mask_queries
    return AxisRange(minimum=1, typical=min(visual + TYPICAL_TEXT_TOKENS, dims.context), maximum=dims.context)


def _lm_head(dims: HypersegDimensions) -> GraphSpec:
    return GraphSpec(
        name="lm_head",
        inputs=(
            _float("hidden_states", "batch", "tokens", dims.width),
            TensorSpec(name="scored_rows", dtype=DType.INT64, axes=("batch",)),
        ),
        outputs=(_float("logits", "batch", dims.logit_rows),),
        axis_ranges={"batch": BATCH, "tokens": _tokens(dims)},
        reuse=Reuse.TOKEN,
    )


def _pixel_decoder(dims: HypersegDimensions) -> GraphSpec:
    return GraphSpec(
        name="pixel_decoder",
        inputs=_feature_maps(dims),
        outputs=_decoded_maps(dims),
        axis_ranges={"batch": BATCH},
        reuse=Reuse.IMAGE,
        custom_ops=(str(DEFORMABLE_ATTENTION),),
    )


def _mask_decoder(dims: HypersegDimensions) -> GraphSpec:
    """Hidden states of the mask queries and of what the next frame remembers are picked by their rows, those of a
    condition averaged from a start to before an end.
    """
    return GraphSpec(
        name="mask_decoder",
        inputs=(
            *_decoded_maps(dims),
            _float("hidden_states", "batch", "tokens", dims.width),
            TensorSpec(name="query_rows", dtype=DType.INT64, axes=("batch", dims.mask_queries)),
            TensorSpec(name="condition_spans", dtype=DType.INT64, axes=("batch", "conditions", 2)),
            TensorSpec(name="remembered_rows", dtype=DType.INT64, axes=("batch", "memory_rows")),
        ),
        outputs=(
            _float("mask_logits", "batch", dims.mask_queries, *dims.map_shapes[0]),
            _float("score_logits", "batch", dims.mask_queries, "conditions"),
            _float("memory", "batch", "memory_rows", dims.perceiver_width),
            _float("class_logits", "batch", dims.mask_queries, "conditions"),
            _float("region_logits", "batch", dims.mask_queries, "conditions"),
        ),
        axis_ranges={
            "batch": BATCH,
            "tokens": _tokens(dims),
            "conditions": CONDITIONS,
            "memory_rows": AxisRange(minimum=1, typical=1, maximum=dims.perceiver_queries),
        },
        reuse=Reuse.PROMPT,
    )


def _mask_readout(dims: HypersegDimensions) -> GraphSpec:
    """The best mask of every condition, in bits, for backends whose tensors are far from the host."""
    return GraphSpec(
        name="mask_readout",
        inputs=(
            _float("mask_logits", "batch", dims.mask_queries, *dims.map_shapes[0]),
            _float("score_logits", "batch", dims.mask_queries, "conditions"),
            _float("hidden_states", "batch", "tokens", dims.width),
            TensorSpec(name="row_index", dtype=DType.INT64, axes=(TAPS, "image_height")),
            _float("row_weight", TAPS, "image_height"),
            TensorSpec(name="column_index", dtype=DType.INT64, axes=(TAPS, "image_width")),
            _float("column_weight", TAPS, "image_width"),
        ),
        outputs=(
            TensorSpec(name="best_queries", dtype=DType.INT64, axes=("batch", "conditions")),
            _float("best_scores", "batch", "conditions"),
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
            "tokens": _tokens(dims),
            "image_height": DEVICE_PX,
            "image_width": DEVICE_PX,
        },
        reuse=Reuse.PROMPT,
        custom_ops=(str(MASK_READOUT),),
        exact=True,
    )
