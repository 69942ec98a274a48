"""The graphs of InstructSeg and the dimensions they depend on."""

from hyperseg_runtime.contracts.graph_spec import AxisRange, GraphSpec, Reuse, TensorSpec
from hyperseg_runtime.families.mask_queries import graph_specs as shared
from hyperseg_runtime.families.mask_queries.dimensions import MaskQueryDimensions, Size
from hyperseg_runtime.families.mask_queries.encoder_images import EncoderImage, clip_image

TYPICAL_EXPRESSION_TOKENS = 14


class InstructsegDimensions(MaskQueryDimensions):
    clip_image_px: Size  # side of the square for the language branch
    logit_rows: Size  # ids the language head scores
    perceiver_queries: Size  # rows for each reference frame
    perceiver_media_width: Size  # keys and values of all its layers, for one row
    fusion_media_width: Size
    reference_frames: Size  # of a key frame in a video

    @property
    def encoder_images(self) -> tuple[EncoderImage, ...]:
        return (*super().encoder_images, clip_image(self.clip_image_px))

    @property
    def fixed_rows(self) -> int:
        """Of an image, which is its own reference."""
        return super().fixed_rows + self.perceiver_queries


def graph_specs(dims: InstructsegDimensions) -> tuple[GraphSpec, ...]:
    """The eleven graphs in an order in which each one's inputs are known."""
    return (
        shared.preprocess(dims),
        shared.image_encoder(dims),
        shared.clip_encoder(dims, dims.clip_image_px),
        _ovp_media(dims),
        _ovp(dims),
        shared.llm(dims),
        shared.lm_head(dims, dims.logit_rows),
        shared.pixel_decoder(dims),
        _vmtf_media(dims),
        _mask_decoder(dims),
        shared.mask_readout(dims),
    )


def _keys_values(dims: InstructsegDimensions) -> TensorSpec:
    return shared.float_tensor("ovp_keys_values", "batch", dims.image_tokens, dims.perceiver_media_width)


def _fusion_keys_values(dims: InstructsegDimensions) -> TensorSpec:
    height, width = dims.map_shapes[-1]
    return shared.float_tensor("vmtf_keys_values", "batch", height * width, dims.fusion_media_width)


def _ovp_media(dims: InstructsegDimensions) -> GraphSpec:
    """The half of the perceiver's keys and values that no text changes."""
    return GraphSpec(
        name="ovp_media",
        inputs=(shared.float_tensor("image_tokens", "batch", dims.image_tokens, dims.width),),
        outputs=(_keys_values(dims),),
        axis_ranges={"batch": shared.BATCH},
        reuse=Reuse.IMAGE,
    )


def _ovp(dims: InstructsegDimensions) -> GraphSpec:
    """Rows of one reference frame with one expression in view."""
    expression = AxisRange(minimum=1, typical=min(TYPICAL_EXPRESSION_TOKENS, dims.context), maximum=dims.context)
    return GraphSpec(
        name="ovp",
        inputs=(_keys_values(dims), shared.float_tensor("text_embeds", "batch", "text_tokens", dims.width)),
        outputs=(shared.float_tensor("ovp_tokens", "batch", dims.perceiver_queries, dims.width),),
        axis_ranges={"batch": shared.BATCH, "text_tokens": expression},
        reuse=Reuse.PROMPT,
    )


def _vmtf_media(dims: InstructsegDimensions) -> GraphSpec:
    """Keys and values that an expression's mean looks at in the coarsest map."""
    return GraphSpec(
        name="vmtf_media",
        inputs=shared.feature_maps(dims)[-1:],
        outputs=(_fusion_keys_values(dims),),
        axis_ranges={"batch": shared.BATCH},
        reuse=Reuse.IMAGE,
    )


def _mask_decoder(dims: InstructsegDimensions) -> GraphSpec:
    return GraphSpec(
        name="mask_decoder",
        inputs=(*shared.mask_decoder_inputs(dims), _fusion_keys_values(dims)),
        outputs=(shared.mask_logits(dims), shared.condition_logits(dims)),
        axis_ranges={
            "batch": shared.BATCH,
            "tokens": shared.tokens_of_a_call(dims),
            "conditions": shared.CONDITIONS,
        },
        reuse=Reuse.PROMPT,
    )
