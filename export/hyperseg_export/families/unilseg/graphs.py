"""One module per graph of `hyperseg_runtime.families.unilseg.spec`, inputs and outputs in the spec's order.

Attribute names here are the first part of our parameter names; the key map renames the checkpoint to them.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from hyperseg_export.families.unilseg.config import UnilsegConfig
from hyperseg_export.modules.clip_text import ClipTextEncoder
from hyperseg_export.modules.mask_decoder import MaskLogits
from hyperseg_export.modules.query_decoder import MaskProbabilities, QueryDecoder
from hyperseg_export.modules.swin import SwinTransformer
from hyperseg_export.modules.vision_language_fpn import VisionLanguageFpn
from hyperseg_export.modules.word_fusion import WordFusion


class Text(nn.Module):
    def __init__(self, config: UnilsegConfig) -> None:
        super().__init__()
        self.text = ClipTextEncoder(config.text)

    def forward(self, token_ids: Tensor) -> tuple[Tensor, Tensor]:
        return self.text(token_ids)


class ImageEncoder(nn.Module):
    def __init__(self, config: UnilsegConfig) -> None:
        super().__init__()
        self.swin = SwinTransformer(config.swin, (config.image_px, config.image_px))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.swin(images)


class MaskDecoderGraph(nn.Module):
    """Everything that depends on both image and sentence (unilseg-spec 8 to 11)."""

    def __init__(self, config: UnilsegConfig) -> None:
        super().__init__()
        shapes = config.map_shapes
        self.fusion = nn.ModuleList(
            WordFusion(channels, config.text.width, config.heads, shape)
            for channels, shape in zip(config.swin.channels, shapes, strict=True)
        )
        self.fpn = VisionLanguageFpn(config.fpn, shapes[::-1])
        self.query_decoder = QueryDecoder(config.query_decoder, shapes[-1])
        self.logits_of = MaskLogits()
        self.probabilities_of = MaskProbabilities(config.image_px)

    def forward(
        self,
        res2: Tensor,
        res3: Tensor,
        res4: Tensor,
        res5: Tensor,
        word_states: Tensor,
        sentence_state: Tensor,
        word_mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        maps = [fuse(x, word_states, word_mask) for fuse, x in zip(self.fusion, (res2, res3, res4, res5), strict=True)]
        features = self.fpn(maps[::-1], word_states, word_mask)
        query = self.query_decoder(maps[-1], sentence_state)
        logits = self.logits_of(query, features).unflatten(2, features.shape[-2:])
        return logits, self.probabilities_of(logits)


GRAPH_MODULES: dict[str, Callable[[UnilsegConfig], nn.Module]] = {
    "text": Text,
    "image_encoder": ImageEncoder,
    "mask_decoder": MaskDecoderGraph,
}


def build_graph(name: str, config: UnilsegConfig) -> nn.Module:
    """The module of one graph without weights: parameters and tables live on the meta device."""
    with torch.device("meta"):
        return GRAPH_MODULES[name](config).eval()
