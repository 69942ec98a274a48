"""One module per graph of `hyperseg_runtime.families.hyperseg.spec`, inputs and outputs in the spec's order.

Attribute names here are the first part of our parameter names; the key map renames the checkpoint to them.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from hyperseg_export.families.hyperseg.config import HypersegConfig
from hyperseg_export.modules.linear import Linear, Mlp, gelu
from hyperseg_export.modules.mask_decoder import ConditionScore, MaskDecoder, mask_feature_pyramid
from hyperseg_export.modules.mask_readout import BestMasks, all_finite
from hyperseg_export.modules.phi import PhiDecoder
from hyperseg_export.modules.pixel_decoder import PixelDecoder
from hyperseg_export.modules.preprocessing import LongestSideSquare, PlainSquare
from hyperseg_export.modules.reading import PickedRows, SlotMask, SpanMeans
from hyperseg_export.modules.resampler import PerceiverResampler
from hyperseg_export.modules.siglip import SiglipTower
from hyperseg_export.modules.swin import SwinTransformer


class Preprocess(nn.Module):
    """`tables` are those of the two resizes, one after the other, int64."""

    def __init__(self, config: HypersegConfig) -> None:
        super().__init__()
        self.square = LongestSideSquare(config.image_px)
        self.clip = PlainSquare()

    def forward(self, pixels: Tensor, *tables: Tensor) -> tuple[Tensor, Tensor]:
        numbers, own = pixels.float(), [table.int() for table in tables]
        return self.square(numbers, own[:6]), self.clip(numbers, own[6:])


class ImageEncoder(nn.Module):
    def __init__(self, config: HypersegConfig) -> None:
        super().__init__()
        self.swin = SwinTransformer(config.swin, (config.image_px, config.image_px))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.swin(images)


class ClipEncoder(nn.Module):
    def __init__(self, config: HypersegConfig) -> None:
        super().__init__()
        self.siglip = SiglipTower(config.siglip)
        widths = [config.siglip.width] + [config.phi.width] * config.projector_layers
        self.projector = Mlp(widths, gelu)

    def forward(self, images_clip: Tensor) -> Tensor:
        return self.projector(self.siglip(images_clip))


class Fvp(nn.Module):
    def __init__(self, config: HypersegConfig) -> None:
        super().__init__()
        self.fvp = PerceiverResampler(config.fvp)

    def forward(self, res3: Tensor, res4: Tensor, res5: Tensor, latents: Tensor) -> Tensor:
        return self.fvp((res3, res4, res5), latents)


class Llm(nn.Module):
    def __init__(self, config: HypersegConfig) -> None:
        super().__init__()
        self.mask = SlotMask()
        self.phi = PhiDecoder(config.phi)

    def forward(
        self,
        inputs_embeds: Tensor,
        position_ids: Tensor,
        attended_slots: Tensor,
        slot_numbers: Tensor,
        write_indices: Tensor,
        *past: Tensor,  # key and value of layer 0, of layer 1, ...
    ) -> tuple[Tensor, ...]:
        caches = list(zip(past[::2], past[1::2], strict=True))
        mask = self.mask(attended_slots, slot_numbers)
        hidden, updated = self.phi(inputs_embeds, position_ids, mask, write_indices, caches)
        return hidden, *(cache for pair in updated for cache in pair)


class LmHead(nn.Module):
    def __init__(self, config: HypersegConfig) -> None:
        super().__init__()
        self.row = PickedRows()
        self.lm_head = Linear(config.phi.width, config.logit_rows, bias=False)

    def forward(self, hidden_states: Tensor, scored_rows: Tensor) -> Tensor:
        return self.lm_head(self.row(scored_rows[:, None], hidden_states)[:, 0])


class PixelDecoderGraph(nn.Module):
    def __init__(self, config: HypersegConfig) -> None:
        super().__init__()
        self.pixel_decoder = PixelDecoder(config.pixel_decoder, config.level_shapes)

    def forward(self, res2: Tensor, res3: Tensor, res4: Tensor, res5: Tensor) -> tuple[Tensor, ...]:
        mask_features, encoded = self.pixel_decoder((res5, res4, res3), res2)
        pyramid = mask_feature_pyramid(mask_features, self.pixel_decoder.shapes)
        return mask_features, *pyramid, *encoded


class MaskDecoderGraph(nn.Module):
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
        _, normed = self.mask_decoder(
            queries,
            (encoded_s32, encoded_s16, encoded_s8),
            (mask_features_s32, mask_features_s16, mask_features_s8),
        )
        masks = self.mask_decoder.mask_logits(normed, mask_features)
        scores = self.condition_score(normed, self.condition_projector(conditions))
        class_scores = self.class_score(normed, self.class_projector(conditions))
        region_scores = self.region_score(normed, self.region_projector(conditions))
        return masks, scores, memory, class_scores, region_scores


class MaskReadoutGraph(nn.Module):
    def __init__(self, config: HypersegConfig) -> None:
        super().__init__()
        self.best_masks = BestMasks()

    def forward(
        self,
        mask_logits: Tensor,
        score_logits: Tensor,
        hidden_states: Tensor,
        row_index: Tensor,
        row_weight: Tensor,
        column_index: Tensor,
        column_weight: Tensor,
    ) -> tuple[Tensor, ...]:
        tables = row_index, row_weight, column_index, column_weight
        return *self.best_masks(mask_logits, score_logits, *tables), all_finite(
            mask_logits, score_logits, hidden_states
        )


GRAPH_MODULES: dict[str, Callable[[HypersegConfig], nn.Module]] = {
    "preprocess": Preprocess,
    "image_encoder": ImageEncoder,
    "clip_encoder": ClipEncoder,
    "fvp": Fvp,
    "llm": Llm,
    "lm_head": LmHead,
    "pixel_decoder": PixelDecoderGraph,
    "mask_decoder": MaskDecoderGraph,
    "mask_readout": MaskReadoutGraph,
}


def build_graph(name: str, config: HypersegConfig) -> nn.Module:
    """The module of one graph without weights: parameters and tables live on the meta device."""
    with torch.device("meta"):
        return GRAPH_MODULES[name](config).eval()
