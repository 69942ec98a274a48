"""Mask DINO (arXiv 2206.02777) on the maps of an image alone: queries with boxes, masks and vectors (hipie-spec 12)."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import relu

from hyperseg_export.modules.box_queries import BoxDecoder
from hyperseg_export.modules.deformable_layers import (
    DeformableConfig,
    DeformableEncoderLayer,
    LevelEmbedding,
    pixels_on_levels,
)
from hyperseg_export.modules.double_size import DoubleSize
from hyperseg_export.modules.islands import Island
from hyperseg_export.modules.levels import LevelProjections, Levels, LevelSine, ProjectedLevel, joined
from hyperseg_export.modules.linear import Linear, Mlp
from hyperseg_export.modules.norms import GroupNorm, LayerNorm
from hyperseg_export.modules.two_stage import BestTokens, ProposalStates, ProposedBoxes, picked, proposals

NORM_GROUPS = 32


@dataclass(frozen=True)
class MaskDinoConfig:
    map_channels: tuple[int, ...]  # finest first
    layer: DeformableConfig
    encoder_layers: int
    decoder_layers: int
    queries: int


class MaskFeatures(nn.Module):
    """Map (B, C, h, w) -> map of twice its size (B, C, 2h, 2w)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enlarge = DoubleSize(width, width)
        self.norm = GroupNorm(NORM_GROUPS, width)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(relu(self.norm(self.enlarge(x))))


class MaskDinoPixelDecoder(nn.Module):
    """Maps finest first (B, c, h, w) -> (encoded tokens (B, S, C), their levels, mask features (B, C, 2h, 2w)).

    Padding counts as image.
    """

    def __init__(self, config: MaskDinoConfig) -> None:
        super().__init__()
        width = config.layer.width
        self.points = config.layer.points
        self.sine = LevelSine(width, offset=0.0)
        self.project = LevelProjections(config.map_channels, width)
        self.level_embed = LevelEmbedding(config.layer.levels, width)
        self.layers = nn.ModuleList(DeformableEncoderLayer(config.layer) for _ in range(config.encoder_layers))
        self.fine_project = ProjectedLevel(config.map_channels[0], width, bias=False)
        self.fine_conv = ProjectedLevel(width, width, kernel=3, bias=False)
        self.mask_features = MaskFeatures(width)

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        projected = self.project(maps)
        levels = Levels.unpadded(projected)
        x, positions = joined(projected), self.level_embed(self.sine(levels), levels)
        references = pixels_on_levels(levels, self.points)
        for layer in self.layers:
            x = layer(x, positions, references, levels.sizes)
        encoded = levels.maps(x)
        fine = relu(self.fine_conv(self.fine_project(maps[0]) + encoded[0]))
        return encoded, self.mask_features(fine)


class QueryMasks(nn.Module):
    """Mask vectors (B, Q, C), features (B, C, h, w) -> logits (B, Q, h, w)."""

    island = Island("their sign decides about pixels", stays_wide=True)

    def forward(self, vectors: Tensor, features: Tensor) -> Tensor:
        return (vectors @ features.flatten(2)).unflatten(2, features.shape[-2:])


class MaskDino(nn.Module):
    """Maps finest first (B, c, h, w) -> (vectors (B, Q, C) to align with a text, mask logits (B, Q, 2h, 2w), boxes).

    boxes (B, Q, 4) are cx, cy, w, h in 0..1. Tokens are read coarsest level first, so the largest proposals come
    from the finest level (a quirk of the release).
    """

    def __init__(self, config: MaskDinoConfig) -> None:
        super().__init__()
        width = config.layer.width
        self.pixel_decoder = MaskDinoPixelDecoder(config)
        self.proposal_states = ProposalStates(width)
        self.vector = Linear(width, width)
        self.best = BestTokens(config.queries)
        self.box_delta = Mlp([width] * 3 + [4], relu)
        self.proposed = ProposedBoxes()
        self.decoder = BoxDecoder(config.layer, config.decoder_layers)
        self.norm = LayerNorm(width, config.layer.norm_eps)
        self.mask_vector = Mlp([width] * 4, relu)
        self.masks = QueryMasks()

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        encoded, features = self.pixel_decoder(maps)
        coarsest_first = encoded[::-1]
        levels, tokens = Levels.unpadded(coarsest_first), joined(coarsest_first)
        contents, boxes = self.queries(tokens, levels)
        deltas = [self.box_delta] * (len(self.decoder.layers) - 1)
        state, after = self.decoder(contents, boxes, tokens, levels.sizes, levels.ratios, deltas)
        normed = self.norm(state)
        twice = self.norm(normed)  # as in the release
        boxes = self.decoder.update(self.box_delta(normed), after[-1])
        return self.vector(twice), self.masks(self.mask_vector(twice), features), boxes

    def queries(self, tokens: Tensor, levels: Levels) -> tuple[Tensor, Tensor]:
        """The best tokens as contents, and their boxes."""
        proposal, usable = proposals(levels)
        states = self.proposal_states(tokens, usable)
        numbers = self.best(self.vector(states).amax(-1))
        contents = picked(states, numbers)
        return contents, self.proposed(self.box_delta(contents), picked(proposal, numbers), picked(usable, numbers))
