"""A two-stage deformable DETR that reads the text before it looks for anything (hipie-spec 8 to 11)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from hyperseg_export.modules.box_queries import BoxDecoder
from hyperseg_export.modules.deformable_layers import (
    DeformableConfig,
    DeformableEncoderLayer,
    LevelEmbedding,
    pixels_on_levels,
)
from hyperseg_export.modules.dynamic_masks import MASK_MAP_SHARE, MaskMap, parameter_count
from hyperseg_export.modules.early_fusion import EarlyFusion, EarlyFusionConfig
from hyperseg_export.modules.levels import LevelProjections, Levels, LevelSine, joined
from hyperseg_export.modules.linear import Linear, Mlp
from hyperseg_export.modules.positions import PIXEL_CENTRE
from hyperseg_export.modules.two_stage import BestTokens, ProposalStates, ProposedBoxes, picked, proposals


@dataclass(frozen=True)
class GroundedDetrConfig:
    map_channels: tuple[int, ...]  # finest first
    layer: DeformableConfig
    fusion: EarlyFusionConfig
    encoder_layers: int
    decoder_layers: int
    proposals: int
    background: int  # learned queries that are no proposals; they come first


@dataclass(frozen=True)
class Found:
    """What is known of queries (B, Q, ...), background first, and of the whole image.

    states       (B, Q, C), to align with a text
    boxes        (B, Q, 4), cx, cy, w, h in 0..1
    iou_logits   (B, Q, 1)
    parameters   (B, Q, n), of each query's mask network
    centres      (B, Q, 2), x, y in 0..1, from which its mask network counts
    mask_map     (B, C / 32, h, w), what all mask networks read
    text         (B, T, D), after the fusion
    """

    states: Tensor
    boxes: Tensor
    iou_logits: Tensor
    parameters: Tensor
    centres: Tensor
    mask_map: Tensor
    text: Tensor


class TokenEncoder(nn.Module):
    """Tokens of all levels read the text once, then each other. (B, S, C), (B, T, D) -> the same, encoded."""

    def __init__(self, config: GroundedDetrConfig) -> None:
        super().__init__()
        self.points = config.layer.points
        self.sine = LevelSine(config.layer.width, PIXEL_CENTRE)
        self.level_embed = LevelEmbedding(config.layer.levels, config.layer.width)
        self.fusion = EarlyFusion(config.fusion)
        self.layers = nn.ModuleList(DeformableEncoderLayer(config.layer) for _ in range(config.encoder_layers))

    def forward(self, x: Tensor, levels: Levels, text: Tensor, word_mask: Tensor) -> tuple[Tensor, Tensor]:
        positions = self.level_embed(self.sine(levels), levels)
        references, inside = pixels_on_levels(levels, self.points), levels.inside
        x, text = self.fusion(x, text, word_mask)
        for layer in self.layers:
            x = layer(x, positions, references, levels.sizes, inside)
        return x, text


class GroundedDetr(nn.Module):
    """Maps finest first (B, c, h, w), valid (B, L, 2) rows and columns of each level that are image, text (B, T, D),
    word_mask (B, T) bool, True = a real word -> `Found`.

    A query's mask is read around the centre that its box had before the last layer.
    """

    def __init__(self, config: GroundedDetrConfig) -> None:
        super().__init__()
        width = config.layer.width
        self.project = LevelProjections(config.map_channels, width)
        self.encoder = TokenEncoder(config)
        self.proposal_states = ProposalStates(width)
        self.proposal_score = Linear(width, 1)
        self.best = BestTokens(config.proposals)
        self.proposal_delta = Mlp([width] * 3 + [4], relu)
        self.proposed = ProposedBoxes()
        self.background_contents = nn.Parameter(torch.empty(config.background, width))
        self.background_boxes = nn.Parameter(torch.empty(config.background, 4))
        self.contents = nn.Parameter(torch.empty(config.proposals, width))
        self.decoder = BoxDecoder(config.layer, config.decoder_layers)
        self.box_deltas = nn.ModuleList(Mlp([width] * 3 + [4], relu) for _ in range(config.decoder_layers))
        self.iou = Linear(width, 1)
        self.mask_parameters = Mlp([width] * 3 + [parameter_count(width // MASK_MAP_SHARE)], relu)
        self.mask_map = MaskMap(width)

    def forward(self, maps: Sequence[Tensor], valid: Tensor, text: Tensor, word_mask: Tensor) -> Found:
        projected = self.project(maps)
        levels = Levels.of(projected, valid)
        memory, text = self.encoder(joined(projected), levels, text, word_mask)
        contents, boxes = self.queries(memory, levels)
        state, after = self.decoder(
            contents, boxes, memory, levels.sizes, levels.ratios, list(self.box_deltas), levels.inside
        )
        return Found(
            states=state,
            boxes=after[-1],
            iou_logits=self.iou(state),
            parameters=self.mask_parameters(state),
            centres=after[-2][..., :2],
            mask_map=self.mask_map(*levels.maps(memory)[:3]),
            text=text,
        )

    def queries(self, memory: Tensor, levels: Levels) -> tuple[Tensor, Tensor]:
        """Learned contents, and the boxes that the best tokens propose; background first."""
        batch = memory.shape[0]
        proposal, usable = proposals(levels)
        states = self.proposal_states(memory, usable)
        numbers = self.best(self.proposal_score(states).squeeze(-1))
        delta = self.proposal_delta(picked(states, numbers))
        boxes = self.proposed(delta, picked(proposal, numbers), picked(usable, numbers))
        contents = torch.cat((self.background_contents, self.contents)).expand(batch, -1, -1)
        return contents, torch.cat((self.background_boxes.expand(batch, -1, -1).to(boxes.dtype), boxes), dim=1)
