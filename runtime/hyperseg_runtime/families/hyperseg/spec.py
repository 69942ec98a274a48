"""The graphs of HyperSeg and the dimensions they depend on."""

from typing import Any

from pydantic import SerializerFunctionWrapHandler, model_serializer

from hyperseg_runtime.contracts.graph_spec import AxisRange, DType, GraphSpec, Reuse, TensorSpec
from hyperseg_runtime.families.mask_queries import graph_specs as shared
from hyperseg_runtime.families.mask_queries.dimensions import MaskQueryDimensions, Size
from hyperseg_runtime.families.mask_queries.encoder_images import EncoderImage, clip_image

LATENTS = "latents"
"""Table that the host reads: the latents of a first frame."""


class HypersegDimensions(MaskQueryDimensions):
    logit_rows: Size  # ids the language head scores
    clip_image_px: Size  # side of the square for the language branch
    perceiver_queries: Size
    perceiver_width: Size
    prompt_frames: Size = 1  # frames of a video whose conditions are averaged; the release looks at one
    reidentification: bool = False  # whether mask queries have embeddings by which objects of frames are told apart

    @model_serializer(mode="wrap")
    def _without_options(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What the release does not have is left out where it is off."""
        fields = type(self).model_fields
        return {name: value for name, value in write(self).items() if value != fields[name].default}

    @property
    def encoder_images(self) -> tuple[EncoderImage, ...]:
        return (*super().encoder_images, clip_image(self.clip_image_px))

    @property
    def fixed_rows(self) -> int:
        return super().fixed_rows + self.perceiver_queries

    def tables(self) -> dict[str, tuple[int, int]]:
        return {**super().tables(), LATENTS: (self.perceiver_queries, self.perceiver_width)}


def graph_specs(dims: HypersegDimensions) -> tuple[GraphSpec, ...]:
    """The nine graphs in an order in which each one's inputs are known."""
    return (
        shared.preprocess(dims),
        shared.image_encoder(dims),
        shared.clip_encoder(dims, dims.clip_image_px),
        _fvp(dims),
        shared.llm(dims),
        shared.lm_head(dims, dims.logit_rows),
        shared.pixel_decoder(dims),
        _mask_decoder(dims),
        shared.mask_readout(dims),
    )


def _fvp(dims: HypersegDimensions) -> GraphSpec:
    return GraphSpec(
        name="fvp",
        inputs=(
            *shared.feature_maps(dims)[1:],
            shared.float_tensor("latents", "batch", dims.perceiver_queries, dims.perceiver_width),
        ),
        outputs=(shared.float_tensor("fvp_tokens", "batch", dims.perceiver_queries, dims.width),),
        axis_ranges={"batch": shared.BATCH},
        reuse=Reuse.IMAGE,
    )


def _mask_decoder(dims: HypersegDimensions) -> GraphSpec:
    """Beside what is shared, what the next frame remembers is picked by its rows; with `prompt_frames`, what conditions
    meant in the frames before goes in, and what the next frame takes of it comes out; with `reidentification`, so do
    embeddings of the mask queries.
    """
    before = dims.prompt_frames - 1
    conditions = ("batch", before, "conditions", dims.width)
    earlier = (
        (
            shared.float_tensor("earlier_conditions", *conditions),
            shared.float_tensor("frame_weights", "batch", dims.prompt_frames),
        )
        if before
        else ()
    )
    window = (shared.float_tensor("later_conditions", *conditions),) if before else ()
    reid = shared.float_tensor("reid_embeddings", "batch", dims.mask_queries, dims.mask_width)
    embeddings = (reid,) if dims.reidentification else ()
    return GraphSpec(
        name="mask_decoder",
        inputs=(
            *shared.mask_decoder_inputs(dims),
            TensorSpec(name="remembered_rows", dtype=DType.INT64, axes=("batch", "memory_rows")),
            *earlier,
        ),
        outputs=(
            shared.mask_logits(dims),
            shared.condition_logits(dims),
            shared.float_tensor("memory", "batch", "memory_rows", dims.perceiver_width),
            shared.condition_logits(dims, "class_logits"),
            shared.condition_logits(dims, "region_logits"),
            *embeddings,
            *window,
        ),
        axis_ranges={
            "batch": shared.BATCH,
            "tokens": shared.tokens_of_a_call(dims),
            "conditions": shared.CONDITIONS,
            "memory_rows": AxisRange(minimum=1, typical=1, maximum=dims.perceiver_queries),
        },
        reuse=Reuse.PROMPT,
    )
