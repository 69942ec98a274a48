"""One module per graph of `hyperseg_runtime.families.psalm.spec`, inputs and outputs in the spec's order.

Attribute names here are the first part of our parameter names; the key map renames the checkpoint to them.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from hyperseg_export.families.mask_queries.graphs import Llm, MaskReadoutGraph, PixelDecoderGraph
from hyperseg_export.families.psalm.config import PsalmConfig
from hyperseg_export.modules.convolution_projector import ConvolutionProjector
from hyperseg_export.modules.linear import Linear
from hyperseg_export.modules.mask_decoder import ConditionScore, MaskDecoder
from hyperseg_export.modules.preprocessing import LongestSideSquare
from hyperseg_export.modules.reading import PickedRows, SpanMeans
from hyperseg_export.modules.swin import SwinTransformer


class Preprocess(nn.Module):
    """`tables` are those of the resize, int64."""

    def __init__(self, config: PsalmConfig) -> None:
        super().__init__()
        self.square = LongestSideSquare(config.image_px)

    def forward(self, pixels: Tensor, *tables: Tensor) -> Tensor:
        return self.square(pixels.float(), [table.int() for table in tables])


class ImageEncoder(nn.Module):
    def __init__(self, config: PsalmConfig) -> None:
        super().__init__()
        self.swin = SwinTransformer(config.swin, (config.image_px, config.image_px))
        self.projector = ConvolutionProjector(config.projector)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        maps = self.swin(images)
        return *maps, self.projector(maps[-1])


class MaskDecoderGraph(nn.Module):
    """Reads the mask queries and the conditions out of the hidden states.

    A condition is an expression, a class or a region; each kind has a projection and a score of its own. All three are
    made of every condition: a few rows, so that one graph serves every request.
    """

    def __init__(self, config: PsalmConfig) -> None:
        super().__init__()
        width = config.mask_decoder.width
        self.rows = PickedRows()
        self.means = SpanMeans()
        self.query_projector = Linear(config.phi.width, width)
        self.condition_projector = Linear(config.phi.width, width)
        self.class_projector = Linear(config.phi.width, width)
        self.region_projector = Linear(config.phi.width, width)
        self.mask_decoder = MaskDecoder(config.mask_decoder, config.level_shapes)
        self.condition_score = ConditionScore(width)
        self.class_score = ConditionScore(width)
        self.region_score = ConditionScore(width)

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
    ) -> tuple[Tensor, ...]:
        queries = self.query_projector(self.rows(query_rows, hidden_states))
        conditions = self.means(condition_spans, hidden_states)
        _, normed = self.mask_decoder(
            queries,
            (encoded_s32, encoded_s16, encoded_s8),
            (mask_features_s32, mask_features_s16, mask_features_s8),
        )
        return (
            self.mask_decoder.mask_logits(normed, mask_features),
            self.condition_score(normed, self.condition_projector(conditions)),
            self.class_score(normed, self.class_projector(conditions)),
            self.region_score(normed, self.region_projector(conditions)),
        )


GRAPH_MODULES: dict[str, Callable[[PsalmConfig], nn.Module]] = {
    "preprocess": Preprocess,
    "image_encoder": ImageEncoder,
    "llm": Llm,
    "pixel_decoder": PixelDecoderGraph,
    "mask_decoder": MaskDecoderGraph,
    "mask_readout": lambda config: MaskReadoutGraph(),
}


def build_graph(name: str, config: PsalmConfig) -> nn.Module:
    """The module of one graph without weights: parameters and tables live on the meta device."""
    with torch.device("meta"):
        return GRAPH_MODULES[name](config).eval()
