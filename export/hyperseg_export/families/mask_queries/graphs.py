"""Modules of the graphs that families share, inputs and outputs in the order of their specs.

Attribute names here are the first part of our parameter names; a key map renames a checkpoint to them.
"""

from torch import Tensor, nn

from hyperseg_export.families.mask_queries.config import MaskQueryConfig
from hyperseg_export.modules.linear import Linear, Mlp, gelu
from hyperseg_export.modules.mask_decoder import mask_feature_pyramid
from hyperseg_export.modules.mask_readout import BestMasks, all_finite
from hyperseg_export.modules.phi import PhiDecoder
from hyperseg_export.modules.pixel_decoder import PixelDecoder
from hyperseg_export.modules.preprocessing import LongestSideSquare, PlainSquare
from hyperseg_export.modules.reading import PickedRows, SlotMask
from hyperseg_export.modules.siglip import SiglipConfig, SiglipTower
from hyperseg_export.modules.swin import SwinTransformer


class Preprocess(nn.Module):
    """For a mask branch and an image tower; `tables` are those of the two resizes, one after the other, int64."""

    def __init__(self, config: MaskQueryConfig) -> None:
        super().__init__()
        self.square = LongestSideSquare(config.image_px)
        self.clip = PlainSquare()

    def forward(self, pixels: Tensor, *tables: Tensor) -> tuple[Tensor, Tensor]:
        numbers, own = pixels.float(), [table.int() for table in tables]
        return self.square(numbers, own[:6]), self.clip(numbers, own[6:])


class ImageEncoder(nn.Module):
    def __init__(self, config: MaskQueryConfig) -> None:
        super().__init__()
        self.swin = SwinTransformer(config.swin, (config.image_px, config.image_px))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.swin(images)


class ClipEncoder(nn.Module):
    """`layers` of projection to rows of the language model, which is `width` wide."""

    def __init__(self, siglip: SiglipConfig, layers: int, width: int) -> None:
        super().__init__()
        self.siglip = SiglipTower(siglip)
        self.projector = Mlp([siglip.width] + [width] * layers, gelu)

    def forward(self, images_clip: Tensor) -> Tensor:
        return self.projector(self.siglip(images_clip))


class Llm(nn.Module):
    def __init__(self, config: MaskQueryConfig) -> None:
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
    def __init__(self, width: int, logit_rows: int) -> None:
        super().__init__()
        self.row = PickedRows()
        self.lm_head = Linear(width, logit_rows, bias=False)

    def forward(self, hidden_states: Tensor, scored_rows: Tensor) -> Tensor:
        return self.lm_head(self.row(scored_rows[:, None], hidden_states)[:, 0])


class PixelDecoderGraph(nn.Module):
    def __init__(self, config: MaskQueryConfig) -> None:
        super().__init__()
        self.pixel_decoder = PixelDecoder(config.pixel_decoder, config.level_shapes)

    def forward(self, res2: Tensor, res3: Tensor, res4: Tensor, res5: Tensor) -> tuple[Tensor, ...]:
        mask_features, encoded = self.pixel_decoder((res5, res4, res3), res2)
        pyramid = mask_feature_pyramid(mask_features, self.pixel_decoder.shapes)
        return mask_features, *pyramid, *encoded


class MaskReadoutGraph(nn.Module):
    def __init__(self) -> None:
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
