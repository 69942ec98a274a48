"""The graphs of PSALM and the dimensions they depend on."""

from hyperseg_runtime.contracts.graph_spec import GraphSpec, Reuse
from hyperseg_runtime.families.mask_queries import graph_specs as shared
from hyperseg_runtime.families.mask_queries.dimensions import MaskQueryDimensions

IMAGE_TOKENS = "image_tokens"


class PsalmDimensions(MaskQueryDimensions):
    """Those that are shared: one encoder sees the image, and nothing is remembered in the language model."""


def graph_specs(dims: PsalmDimensions) -> tuple[GraphSpec, ...]:
    """The six graphs in an order in which each one's inputs are known."""
    return (
        shared.preprocess(dims),
        _image_encoder(dims),
        shared.llm(dims),
        shared.pixel_decoder(dims),
        _mask_decoder(dims),
        shared.mask_readout(dims),
    )


def _image_encoder(dims: PsalmDimensions) -> GraphSpec:
    """The maps of the mask branch, and what the language model sees of the coarsest one."""
    encoder = shared.image_encoder(dims)
    tokens = shared.float_tensor(IMAGE_TOKENS, "batch", dims.image_tokens, dims.width)
    return encoder.model_copy(update={"outputs": (*encoder.outputs, tokens)})


def _mask_decoder(dims: PsalmDimensions) -> GraphSpec:
    return GraphSpec(
        name="mask_decoder",
        inputs=shared.mask_decoder_inputs(dims),
        outputs=(
            shared.mask_logits(dims),
            shared.condition_logits(dims),
            shared.condition_logits(dims, "class_logits"),
            shared.condition_logits(dims, "region_logits"),
        ),
        axis_ranges={
            "batch": shared.BATCH,
            "tokens": shared.tokens_of_a_call(dims),
            "conditions": shared.CONDITIONS,
        },
        reuse=Reuse.PROMPT,
    )
