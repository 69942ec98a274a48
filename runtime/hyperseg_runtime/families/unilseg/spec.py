"""The graphs of UniLSeg and the dimensions they depend on."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from hyperseg_runtime.contracts.graph_spec import AxisRange, DType, GraphSpec, Reuse, TensorSpec

Size = Annotated[int, Field(ge=1, le=10_000_000)]
TokenId = Annotated[int, Field(ge=0, le=10_000_000)]
MapShape = tuple[Size, Size]

PAD_TOKEN_ID = 0
"""Also the id of "!" glued to other symbols, which the model therefore takes for padding (unilseg-spec 4)."""

MAPS = ("res2", "res3", "res4", "res5")
"""Encoder maps, strides 4 to 32."""


class UnilsegDimensions(BaseModel):
    """Every size the runtime needs; what only a network's inside needs stays in the exporter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_px: Size  # side of the letterboxed square
    words: Size  # token ids of a sentence, start, end and padding included
    token_rows: Size  # ids that have an embedding
    start_token_id: TokenId
    end_token_id: TokenId
    word_width: Size
    state_width: Size  # of a sentence's state
    map_channels: tuple[Size, Size, Size, Size]  # res2, res3, res4, res5
    map_shapes: tuple[MapShape, MapShape, MapShape, MapShape]  # (height, width) of res2..res5


BATCH = AxisRange(minimum=1, typical=1, maximum=8)
SENTENCES = AxisRange(minimum=1, typical=1, maximum=64)
"""They cost little, and one image may be asked about many."""


def graph_specs(dims: UnilsegDimensions) -> tuple[GraphSpec, ...]:
    """The three graphs in an order in which each one's inputs are known."""
    return _text(dims), _image_encoder(dims), _mask_decoder(dims)


def _float(name: str, *axes: int | str) -> TensorSpec:
    return TensorSpec(name=name, dtype=DType.FLOAT32, axes=axes)


def _sentence(dims: UnilsegDimensions) -> tuple[TensorSpec, TensorSpec]:
    return (
        _float("word_states", "batch", dims.words, dims.word_width),
        _float("sentence_state", "batch", dims.state_width),
    )


def _feature_maps(dims: UnilsegDimensions) -> tuple[TensorSpec, ...]:
    return tuple(
        _float(name, "batch", channels, *shape)
        for name, channels, shape in zip(MAPS, dims.map_channels, dims.map_shapes, strict=True)
    )


def _text(dims: UnilsegDimensions) -> GraphSpec:
    return GraphSpec(
        name="text",
        inputs=(TensorSpec(name="token_ids", dtype=DType.INT64, axes=("batch", dims.words)),),
        outputs=_sentence(dims),
        axis_ranges={"batch": SENTENCES},
        reuse=Reuse.TEXT,
    )


def _image_encoder(dims: UnilsegDimensions) -> GraphSpec:
    return GraphSpec(
        name="image_encoder",
        inputs=(_float("images", "batch", 3, dims.image_px, dims.image_px),),
        outputs=_feature_maps(dims),
        axis_ranges={"batch": BATCH},
        reuse=Reuse.IMAGE,
    )


def _mask_decoder(dims: UnilsegDimensions) -> GraphSpec:
    """`word_mask` is True where a token id is not `PAD_TOKEN_ID`; probabilities are those of the letterbox."""
    return GraphSpec(
        name="mask_decoder",
        inputs=(
            *_feature_maps(dims),
            *_sentence(dims),
            TensorSpec(name="word_mask", dtype=DType.BOOL, axes=("batch", dims.words)),
        ),
        outputs=(
            _float("mask_logits", "batch", 1, *dims.map_shapes[0]),
            _float("probabilities", "batch", dims.image_px, dims.image_px),
        ),
        axis_ranges={"batch": BATCH},
        reuse=Reuse.PROMPT,
    )
