"""The sizes that the shared graphs and steps depend on."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from hyperseg_runtime.families.mask_queries.encoder_images import EncoderImage, mask_image

TOKENS, MASK_QUERIES = "tokens", "mask_queries"
"""Tables that the host reads: token embeddings, the learned mask queries."""

Size = Annotated[int, Field(ge=1, le=10_000_000)]
MapShape = tuple[Size, Size]


class MaskQueryDimensions(BaseModel):
    """Every size the runtime needs; what only a network's inside needs stays in the exporter. A family adds its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_px: Size  # side of the padded square for the mask branch
    image_tokens: Size
    map_channels: tuple[Size, Size, Size, Size]  # res2, res3, res4, res5
    map_shapes: tuple[MapShape, MapShape, MapShape, MapShape]  # (height, width) of res2..res5
    width: Size  # language model
    layers: Annotated[int, Field(ge=1, le=1000)]
    cache_heads: Size
    head_width: Size
    context: Size  # cache slots: the longest prompt plus answer
    mask_queries: Size
    mask_width: Size
    token_rows: Size  # ids that have an input embedding
    seg_token_id: Annotated[int, Field(ge=0)]
    eos_token_id: Annotated[int, Field(ge=0)]

    @property
    def encoder_images(self) -> tuple[EncoderImage, ...]:
        """What encoders take of an image."""
        return (mask_image(self.image_px),)

    @property
    def fixed_rows(self) -> int:
        """Rows of a segmentation prompt that are no text."""
        return self.image_tokens + self.mask_queries

    def tables(self) -> dict[str, tuple[int, int]]:
        """Rows and width of the host's tables."""
        return {TOKENS: (self.token_rows, self.width), MASK_QUERIES: (self.mask_queries, self.width)}
