"""The graphs of HIPIE and the dimensions they depend on."""

from math import ceil
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from hyperseg_kernels.catalog import SIZED_ATTENTION
from hyperseg_runtime.contracts.graph_spec import AxisRange, DType, GraphSpec, Reuse, TensorSpec
from hyperseg_runtime.families.hipie.options import HipieOptions

Size = Annotated[int, Field(ge=1, le=10_000_000)]

MAPS = ("res3", "res4", "res5")
"""Maps of the backbone, strides 8, 16 and 32."""
FINEST_STRIDE_PX = 8


class HipieDimensions(BaseModel):
    """Every size and switch the runtime needs; what only a network's inside needs stays in the exporter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    short_px: Size  # an image's short side becomes that,
    long_px: Size  # unless its long side would exceed this
    size_multiple: Size  # of an image's height and width in px; what is missing is filled up
    map_channels: tuple[Size, Size, Size]  # res3, res4, res5
    token_rows: Size  # ids that have an embedding
    piece_words: Size  # tokens that the text encoder takes at once
    text_width: Size
    levels: Size
    width: Size  # of the queries' states
    proposals: Size
    background: Size  # queries before the proposals, which no result shows
    mask_channels: Size
    mask_parameters: Size  # numbers that make one query's mask network
    vector_width: Size  # of Mask DINO's
    vectors: Size  # queries of Mask DINO
    options: HipieOptions = HipieOptions()

    @property
    def queries(self) -> int:
        return self.background + self.proposals

    def cells(self) -> AxisRange:
        """Rows or columns of the map of stride 8. A square of the fewest has as many tokens as queries are picked."""
        fewest = 8
        while sum(ceil(fewest / 2**level) ** 2 for level in range(self.levels)) < max(self.proposals, self.vectors):
            fewest += 1
        typical, most = (max(ceil(side / FINEST_STRIDE_PX), fewest) for side in (self.short_px, self.long_px))
        return AxisRange(minimum=fewest, typical=typical, maximum=most)

    def side_px(self) -> AxisRange:
        """Height or width of a canvas."""
        cells, step = self.cells(), self.size_multiple
        minimum, typical, maximum = (
            -(-FINEST_STRIDE_PX * extent // step) * step for extent in (cells.minimum, cells.typical, cells.maximum)
        )
        return AxisRange(minimum=minimum, typical=typical, maximum=maximum, step=step)


BATCH = AxisRange(minimum=1, typical=1, maximum=8)
PIECES = AxisRange(minimum=1, typical=1, maximum=32)
WORDS = AxisRange(minimum=1, typical=512, maximum=8192)
KEPT = AxisRange(minimum=1, typical=100, maximum=1024)
"""Queries whose masks are wanted."""


def graph_specs(dims: HipieDimensions) -> tuple[GraphSpec, ...]:
    """The seven graphs in an order in which each one's inputs are known."""
    return (
        _text(dims),
        _image(dims),
        _mask_dino(dims),
        _detr(dims),
        _alignment(dims),
        _vector_alignment(dims),
        _masks(dims),
    )


def _float(name: str, *axes: int | str) -> TensorSpec:
    return TensorSpec(name=name, dtype=DType.FLOAT32, axes=axes)


def _word_mask(*axes: str) -> TensorSpec:
    """True = a token, False = padding."""
    return TensorSpec(name="word_mask", dtype=DType.BOOL, axes=axes)


def _text(dims: HipieDimensions) -> GraphSpec:
    """A row is a piece of a text."""
    axes = ("batch", "words")
    return GraphSpec(
        name="text",
        inputs=(TensorSpec(name="token_ids", dtype=DType.INT64, axes=axes), _word_mask(*axes)),
        outputs=(_float("piece_states", *axes, dims.text_width),),
        axis_ranges={
            "batch": PIECES,
            "words": AxisRange(minimum=1, typical=dims.piece_words, maximum=dims.piece_words),
        },
        reuse=Reuse.TEXT,
    )


def _image(dims: HipieDimensions) -> GraphSpec:
    maps = [
        _float(name, "batch", channels, f"ceil(height / {stride})", f"ceil(width / {stride})")
        for name, channels, stride in zip(MAPS, dims.map_channels, (8, 16, 32), strict=True)
    ]
    return GraphSpec(
        name="image",
        inputs=(_float("images", "batch", 3, "height", "width"),),
        outputs=tuple(maps),
        axis_ranges={"batch": BATCH, "height": dims.side_px(), "width": dims.side_px()},
        reuse=Reuse.IMAGE,
    )


def _maps(dims: HipieDimensions) -> tuple[TensorSpec, ...]:
    """The backbone's maps as inputs: the sizes of the coarser ones follow from the finest one's."""
    fine, middle, coarse = dims.map_channels
    return (
        _float(MAPS[0], "batch", fine, "rows", "columns"),
        _float(MAPS[1], "batch", middle, "ceil(rows / 2)", "ceil(columns / 2)"),
        _float(MAPS[2], "batch", coarse, "ceil(rows / 4)", "ceil(columns / 4)"),
    )


def _mask_dino(dims: HipieDimensions) -> GraphSpec:
    return GraphSpec(
        name="mask_dino",
        inputs=_maps(dims),
        outputs=(
            _float("vectors", "batch", dims.vectors, dims.vector_width),
            _float("vector_masks", "batch", dims.vectors, "2 * rows", "2 * columns"),
            _float("vector_boxes", "batch", dims.vectors, 4),
        ),
        axis_ranges={"batch": BATCH, "rows": dims.cells(), "columns": dims.cells()},
        reuse=Reuse.IMAGE,
        custom_ops=(str(SIZED_ATTENTION),),
    )


def _detr(dims: HipieDimensions) -> GraphSpec:
    """`valid` are the rows and columns of each level that are no padding."""
    return GraphSpec(
        name="detr",
        inputs=(
            *_maps(dims),
            TensorSpec(name="valid", dtype=DType.INT64, axes=("batch", dims.levels, 2)),
            _float("text", "batch", "words", dims.text_width),
            _word_mask("batch", "words"),
        ),
        outputs=(
            _float("states", "batch", dims.queries, dims.width),
            _float("boxes", "batch", dims.queries, 4),
            _float("iou_logits", "batch", dims.queries, 1),
            _float("mask_parameters", "batch", dims.queries, dims.mask_parameters),
            _float("centres", "batch", dims.queries, 2),
            _float("mask_map", "batch", dims.mask_channels, "rows", "columns"),
            _float("fused_text", "batch", "words", dims.text_width),
        ),
        axis_ranges={"batch": BATCH, "rows": dims.cells(), "columns": dims.cells(), "words": WORDS},
        reuse=Reuse.PROMPT,
        custom_ops=(str(SIZED_ATTENTION),),
    )


def _alignment(dims: HipieDimensions) -> GraphSpec:
    """How well each query fits each word; `text` may be one row that stands for all."""
    return GraphSpec(
        name="alignment",
        inputs=(
            _float("states", "batch", dims.queries, dims.width),
            _float("text", "batch", "words", dims.text_width),
        ),
        outputs=(_float("word_logits", "batch", dims.queries, "words"),),
        axis_ranges={"batch": BATCH, "words": WORDS},
        reuse=Reuse.PROMPT,
    )


def _vector_alignment(dims: HipieDimensions) -> GraphSpec:
    return GraphSpec(
        name="vector_alignment",
        inputs=(
            _float("vectors", "batch", dims.vectors, dims.vector_width),
            _float("text", "batch", "words", dims.text_width),
        ),
        outputs=(_float("vector_word_logits", "batch", dims.vectors, "words"),),
        axis_ranges={"batch": BATCH, "words": WORDS},
        reuse=Reuse.PROMPT,
    )


def _masks(dims: HipieDimensions) -> GraphSpec:
    return GraphSpec(
        name="masks",
        inputs=(
            _float("mask_map", "batch", dims.mask_channels, "rows", "columns"),
            _float("mask_parameters", "batch", "kept", dims.mask_parameters),
            _float("centres_px", "batch", "kept", 2),
        ),
        outputs=(_float("mask_logits", "batch", "kept", "2 * rows", "2 * columns"),),
        axis_ranges={"batch": BATCH, "rows": dims.cells(), "columns": dims.cells(), "kept": KEPT},
        reuse=Reuse.PROMPT,
    )
