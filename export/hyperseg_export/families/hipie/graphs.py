"""The modules that HIPIE's graphs are made of: inputs and outputs in the order of the contracts."""

import torch
from torch import Tensor, nn

from hyperseg_export.families.hipie.config import HipieConfig
from hyperseg_export.modules.bert import BertEncoder
from hyperseg_export.modules.dynamic_masks import DynamicMasks
from hyperseg_export.modules.grounded_detr import GroundedDetr
from hyperseg_export.modules.mask_dino import MaskDino
from hyperseg_export.modules.plain_vit import PlainVit
from hyperseg_export.modules.resnet import Resnet, ResnetConfig
from hyperseg_export.modules.text_alignment import TextAlignment


class TextGraph(nn.Module):
    """Pieces of texts: token ids (P, T), word mask (P, T) -> states (P, T, D)."""

    def __init__(self, config: HipieConfig) -> None:
        super().__init__()
        self.text = BertEncoder(config.text)

    def forward(self, token_ids: Tensor, word_mask: Tensor) -> Tensor:
        return self.text(token_ids, word_mask)


class ImageGraph(nn.Module):
    """images (B, 3, H, W) -> res3, res4, res5."""

    def __init__(self, config: HipieConfig) -> None:
        super().__init__()
        backbone = config.backbone
        self.backbone = Resnet(backbone) if isinstance(backbone, ResnetConfig) else PlainVit(backbone)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.backbone(images)


class MaskDinoGraph(nn.Module):
    """res3, res4, res5 -> vectors, mask logits, boxes of Mask DINO's queries."""

    def __init__(self, config: HipieConfig) -> None:
        super().__init__()
        self.mask_dino = MaskDino(config.mask_dino)

    def forward(self, res3: Tensor, res4: Tensor, res5: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.mask_dino((res3, res4, res5))


class DetrGraph(nn.Module):
    """res3, res4, res5, valid sizes, text, word mask -> everything in `Found`, in its order."""

    def __init__(self, config: HipieConfig) -> None:
        super().__init__()
        self.detr = GroundedDetr(config.detr)

    def forward(
        self, res3: Tensor, res4: Tensor, res5: Tensor, valid: Tensor, text: Tensor, word_mask: Tensor
    ) -> tuple[Tensor, ...]:
        found = self.detr((res3, res4, res5), valid, text, word_mask)
        return (
            found.states, found.boxes, found.iou_logits, found.parameters, found.centres, found.mask_map, found.text,
        )  # fmt: skip


class AlignmentGraph(nn.Module):
    """States of the queries, text -> word logits."""

    def __init__(self, config: HipieConfig) -> None:
        super().__init__()
        self.alignment = TextAlignment(config.detr.layer.width, config.text.width)

    def forward(self, states: Tensor, text: Tensor) -> Tensor:
        return self.alignment(states, text)


class VectorAlignmentGraph(nn.Module):
    """Vectors of Mask DINO's queries, text -> word logits."""

    def __init__(self, config: HipieConfig) -> None:
        super().__init__()
        self.vector_alignment = TextAlignment(config.mask_dino.layer.width, config.text.width)

    def forward(self, vectors: Tensor, text: Tensor) -> Tensor:
        return self.vector_alignment(vectors, text)


class MasksGraph(nn.Module):
    """Mask map, mask networks and their centres in pixels -> mask logits at stride 4."""

    def __init__(self, config: HipieConfig) -> None:
        super().__init__()
        self.masks = DynamicMasks()

    def forward(self, mask_map: Tensor, mask_parameters: Tensor, centres_px: Tensor) -> Tensor:
        return self.masks(mask_map, mask_parameters, centres_px)


GRAPHS: dict[str, type[nn.Module]] = {
    "text": TextGraph,
    "image": ImageGraph,
    "mask_dino": MaskDinoGraph,
    "detr": DetrGraph,
    "alignment": AlignmentGraph,
    "vector_alignment": VectorAlignmentGraph,
    "masks": MasksGraph,
}


def build_graph(name: str, config: HipieConfig) -> nn.Module:
    """On the meta device: structure without memory."""
    with torch.device("meta"):
        return GRAPHS[name](config).eval()
