"""One module per graph of `hyperseg_runtime.families.instructseg.spec`, inputs and outputs in the spec's order.

Attribute names here are the first part of our parameter names; the key map renames the checkpoint to them.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from hyperseg_export.families.instructseg.config import InstructsegConfig
from hyperseg_export.families.mask_queries.graphs import (
    ClipEncoder,
    ImageEncoder,
    Llm,
    LmHead,
    MaskReadoutGraph,
    PixelDecoderGraph,
    Preprocess,
)
from hyperseg_export.modules.latent_attention import MediaKeysValues
from hyperseg_export.modules.linear import Linear
from hyperseg_export.modules.mask_decoder import ConditionScore, MaskDecoder
from hyperseg_export.modules.object_perceiver import ObjectPerceiver
from hyperseg_export.modules.reading import PickedRows, SpanMeans
from hyperseg_export.modules.text_fusion import MapKeysValues, TextFusion


class OvpMedia(nn.Module):
    def __init__(self, config: InstructsegConfig) -> None:
        super().__init__()
        self.ovp = MediaKeysValues(config.perceiver)

    def forward(self, image_tokens: Tensor) -> Tensor:
        return self.ovp(image_tokens)


class Ovp(nn.Module):
    def __init__(self, config: InstructsegConfig) -> None:
        super().__init__()
        self.ovp = ObjectPerceiver(config.perceiver, config.perceiver_queries)

    def forward(self, ovp_keys_values: Tensor, text_embeds: Tensor) -> Tensor:
        return self.ovp(ovp_keys_values, text_embeds)


class VmtfMedia(nn.Module):
    def __init__(self, config: InstructsegConfig) -> None:
        super().__init__()
        self.vmtf = MapKeysValues(config.fusion, config.swin.channels[-1])

    def forward(self, res5: Tensor) -> Tensor:
        return self.vmtf(res5)


class MaskDecoderGraph(nn.Module):
    """Reads the mask queries and the expressions out of the hidden states."""

    def __init__(self, config: InstructsegConfig) -> None:
        super().__init__()
        width = config.mask_decoder.width
        self.rows = PickedRows()
        self.means = SpanMeans()
        self.query_projector = Linear(config.phi.width, width)
        self.vmtf = TextFusion(config.fusion, config.phi.width, width)
        self.mask_decoder = MaskDecoder(config.mask_decoder, config.level_shapes)
        self.condition_score = ConditionScore(width)

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
        vmtf_keys_values: Tensor,
    ) -> tuple[Tensor, ...]:
        queries = self.query_projector(self.rows(query_rows, hidden_states))
        conditions = self.vmtf(self.means(condition_spans, hidden_states), vmtf_keys_values)
        _, normed = self.mask_decoder(
            queries,
            (encoded_s32, encoded_s16, encoded_s8),
            (mask_features_s32, mask_features_s16, mask_features_s8),
        )
        return self.mask_decoder.mask_logits(normed, mask_features), self.condition_score(normed, conditions)


GRAPH_MODULES: dict[str, Callable[[InstructsegConfig], nn.Module]] = {
    "preprocess": Preprocess,
    "image_encoder": ImageEncoder,
    "clip_encoder": lambda config: ClipEncoder(config.siglip, config.projector_layers, config.phi.width),
    "ovp_media": OvpMedia,
    "ovp": Ovp,
    "llm": Llm,
    "lm_head": lambda config: LmHead(config.phi.width, config.logit_rows),
    "pixel_decoder": PixelDecoderGraph,
    "vmtf_media": VmtfMedia,
    "mask_decoder": MaskDecoderGraph,
    "mask_readout": lambda config: MaskReadoutGraph(),
}


def build_graph(name: str, config: InstructsegConfig) -> nn.Module:
    """The module of one graph without weights: parameters and tables live on the meta device."""
    with torch.device("meta"):
        return GRAPH_MODULES[name](config).eval()
