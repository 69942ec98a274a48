"""One module per graph of `hyperseg_runtime.families.hyperseg.spec`, inputs and outputs in the spec's order.

Attribute names here are the first part of our parameter names; the key map renames the checkpoint to them.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from hyperseg_export.families.hyperseg.config import HypersegConfig
from hyperseg_export.families.mask_queries.graphs import (
    ClipEncoder,
    ImageEncoder,
    Llm,
    LmHead,
    MaskReadoutGraph,
    PixelDecoderGraph,
    Preprocess,
)
from hyperseg_export.modules.linear import Linear, Mlp
from hyperseg_export.modules.mask_decoder import ConditionScore, MaskDecoder
from hyperseg_export.modules.prompt_aggregation import PromptAggregation
from hyperseg_export.modules.reading import PickedRows, SpanMeans
from hyperseg_export.modules.resampler import PerceiverResampler


class Fvp(nn.Module):
    def __init__(self, config: HypersegConfig) -> None:
        super().__init__()
        self.fvp = PerceiverResampler(config.fvp)

    def forward(self, res3: Tensor, res4: Tensor, res5: Tensor, latents: Tensor) -> Tensor:
        return self.fvp((res3, res4, res5), latents)


Maps = tuple[Tensor, Tensor, Tensor]
"""Of strides 32, 16 and 8."""


class MaskDecoderParts(nn.Module):
    """Reads the mask queries, the conditions and the next frame's memory out of the hidden states.

    A condition is an expression, a class or a region; each kind has a projection and a score of its own. All three are
    made of every condition: a few rows, so that one graph serves every request.
    """

    def __init__(self, config: HypersegConfig) -> None:
        super().__init__()
        width = config.mask_decoder.width
        self.rows = PickedRows()
        self.means = SpanMeans()
        self.query_projector = Linear(config.phi.width, width)
        self.condition_projector = Linear(config.phi.width, width)
        self.memory_projector = Linear(config.phi.width, config.fvp.width)
        self.mask_decoder = MaskDecoder(config.mask_decoder, config.level_shapes)
        self.condition_score = ConditionScore(width)
        self.class_projector = Linear(config.phi.width, width)
        self.class_score = ConditionScore(width)
        self.region_projector = Linear(config.phi.width, width)
        self.region_score = ConditionScore(width)
        self.reid_head = Mlp([width] * 4, relu) if config.reidentification else None

    def decoded(
        self,
        mask_features: Tensor,
        pyramid: Maps,
        encoded: Maps,
        queries: Tensor,
        conditions: Tensor,
        memory: Tensor,
    ) -> tuple[Tensor, ...]:
        """What both graphs give: masks, scores of expressions, memory, scores of classes and of regions, and by option
        the queries' embeddings."""
        states, normed = self.mask_decoder(queries, encoded, pyramid)
        masks = self.mask_decoder.mask_logits(normed, mask_features)
        scores = self.condition_score(normed, self.condition_projector(conditions))
        class_scores = self.class_score(normed, self.class_projector(conditions))
        region_scores = self.region_score(normed, self.region_projector(conditions))
        embeddings = () if self.reid_head is None else (self.reid_head(states),)
        return masks, scores, memory, class_scores, region_scores, *embeddings


class MaskDecoderGraph(MaskDecoderParts):
    """As released: conditions are those of the frame."""

    def forward(
        self,
        mask_features: Tensor,
        mask_features_s32: Tensor,
        mask_features_s16: Tensor,
        mask_features_s8: Tensor,
        encoded_s32: Tensor,
        encoded_s16: Tensor,
        encoded_s8: Tensor,
        hidden_states: Tensor,
        query_rows: Tensor,
        condition_spans: Tensor,
        remembered_rows: Tensor,
    ) -> tuple[Tensor, ...]:
        queries = self.query_projector(self.rows(query_rows, hidden_states))
        conditions = self.means(condition_spans, hidden_states)
        memory = self.memory_projector(self.rows(remembered_rows, hidden_states))
        encoded = (encoded_s32, encoded_s16, encoded_s8)
        pyramid = (mask_features_s32, mask_features_s16, mask_features_s8)
        return self.decoded(mask_features, pyramid, encoded, queries, conditions, memory)


class AggregatingMaskDecoderGraph(MaskDecoderParts):
    """As the paper describes: conditions are means over the last frames."""

    def __init__(self, config: HypersegConfig) -> None:
        super().__init__(config)
        self.aggregation = PromptAggregation()

    def forward(
        self,
        mask_features: Tensor,
        mask_features_s32: Tensor,
        mask_features_s16: Tensor,
        mask_features_s8: Tensor,
        encoded_s32: Tensor,
        encoded_s16: Tensor,
        encoded_s8: Tensor,
        hidden_states: Tensor,
        query_rows: Tensor,
        condition_spans: Tensor,
        remembered_rows: Tensor,
        earlier_conditions: Tensor,
        frame_weights: Tensor,
    ) -> tuple[Tensor, ...]:
        queries = self.query_projector(self.rows(query_rows, hidden_states))
        own = self.means(condition_spans, hidden_states)
        conditions, window = self.aggregation(own, earlier_conditions, frame_weights)
        memory = self.memory_projector(self.rows(remembered_rows, hidden_states))
        encoded = (encoded_s32, encoded_s16, encoded_s8)
        pyramid = (mask_features_s32, mask_features_s16, mask_features_s8)
        return *self.decoded(mask_features, pyramid, encoded, queries, conditions, memory), window


def mask_decoder_graph(config: HypersegConfig) -> MaskDecoderParts:
    return AggregatingMaskDecoderGraph(config) if config.prompt_frames > 1 else MaskDecoderGraph(config)


GRAPH_MODULES: dict[str, Callable[[HypersegConfig], nn.Module]] = {
    "preprocess": Preprocess,
    "image_encoder": ImageEncoder,
    "clip_encoder": lambda config: ClipEncoder(config.siglip, config.projector_layers, config.phi.width),
    "fvp": Fvp,
    "llm": Llm,
    "lm_head": lambda config: LmHead(config.phi.width, config.logit_rows),
    "pixel_decoder": PixelDecoderGraph,
    "mask_decoder": mask_decoder_graph,
    "mask_readout": lambda config: MaskReadoutGraph(),
}


def build_graph(name: str, config: HypersegConfig) -> nn.Module:
    """The module of one graph without weights: parameters and tables live on the meta device."""
    with torch.device("meta"):
        return GRAPH_MODULES[name](config).eval()
