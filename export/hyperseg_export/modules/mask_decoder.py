"""Masked-attention transformer decoder of Mask2Former (arXiv 2112.01527) for fixed map sizes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from hyperseg_export.modules.attention import CrossAttention, attend
from hyperseg_export.modules.constants import ConstantModule
from hyperseg_export.modules.islands import Island
from hyperseg_export.modules.linear import Linear, Mlp
from hyperseg_export.modules.norms import LayerNorm
from hyperseg_export.modules.pixel_decoder import MapShape
from hyperseg_export.modules.positions import sine_positions


@dataclass(frozen=True)
class MaskDecoderConfig:
    width: int
    heads: int
    layers: int
    levels: int
    mlp_width: int
    queries: int
    norm_eps: float = 1e-5


def mask_feature_pyramid(mask_features: Tensor, shapes: Sequence[MapShape]) -> list[Tensor]:
    """Mask features sampled at every level's size, (B, C, h_l, w_l).

    The original samples the full-size logits of every query down to the level. Sampling and the product
    with the query are both linear, so sampling the features once per image gives the same logits and the
    nine intermediate full-size logit maps never exist.
    """
    return [interpolate(mask_features, shape, mode="bilinear", align_corners=False) for shape in shapes]


class MaskLogits(nn.Module):
    """Mask embeddings (B, Q, C) and features (B, C, h, w) -> logits (B, Q, h * w)."""

    island = Island("their sign decides about pixels and about what the next layer looks at", stays_wide=True)

    def forward(self, embeddings: Tensor, features: Tensor) -> Tensor:
        return embeddings @ features.flatten(2)


class AttentionMask(nn.Module):
    """Logits (B, Q, h * w) -> bool (B, 1, Q, h * w), True = may attend.

    A place is open where the mask is predicted (`logit >= 0` is `sigmoid(logit) >= 0.5`). A query that
    predicts no place may look everywhere; as boolean algebra this needs no data-dependent indexing.
    """

    def forward(self, logits: Tensor) -> Tensor:
        nowhere = logits.amax(-1, keepdim=True) < 0
        return ((logits >= 0) | nowhere).unsqueeze(1)


class SelfAttention(nn.Module):
    """Queries and keys share their input, so they share one matrix product."""

    def __init__(self, config: MaskDecoderConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query_key = Linear(config.width, 2 * config.width)
        self.value = Linear(config.width, config.width)
        self.out = Linear(config.width, config.width)

    def forward(self, query_key: Tensor, value: Tensor) -> Tensor:
        q, k = self.query_key(query_key).chunk(2, dim=-1)
        return self.out(attend(q, k, self.value(value), self.heads))


class MaskDecoderLayer(nn.Module):
    """Masked cross-attention, self-attention, MLP; each residual with a norm after it."""

    def __init__(self, config: MaskDecoderConfig) -> None:
        super().__init__()
        self.cross_attention = CrossAttention(config.width, config.heads)
        self.norm1 = LayerNorm(config.width, config.norm_eps)
        self.self_attention = SelfAttention(config)
        self.norm2 = LayerNorm(config.width, config.norm_eps)
        self.mlp = Mlp((config.width, config.mlp_width, config.width), relu)
        self.norm3 = LayerNorm(config.width, config.norm_eps)

    def forward(self, x: Tensor, query_embed: Tensor, memory: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        x = self.norm1(x + self.cross_attention(x + query_embed, memory + positions, memory, mask))
        x = self.norm2(x + self.self_attention(x + query_embed, x))
        return self.norm3(x + self.mlp(x))


class MaskDecoder(ConstantModule):
    """Refines mask queries layer by layer, each attending where its own mask is so far.

    queries (B, Q, C), encoded maps and `pyramid` (`mask_feature_pyramid`) coarsest first, each
    (B, C, h_l, w_l) -> (states (B, Q, C) after the last layer, the same after the decoder norm).
    """

    def __init__(self, config: MaskDecoderConfig, shapes: Sequence[MapShape]) -> None:
        super().__init__()
        self.shapes = tuple(shapes)
        self.query_embed = nn.Parameter(torch.empty(config.queries, config.width))
        self.level_embed = nn.Parameter(torch.empty(config.levels, config.width))
        self.layers = nn.ModuleList(MaskDecoderLayer(config) for _ in range(config.layers))
        self.norm = LayerNorm(config.width, config.norm_eps)
        self.mask_embed = Mlp([config.width] * 4, relu)
        self.logits_of = MaskLogits()
        self.attention_mask = AttentionMask()
        for level, (height, width) in enumerate(self.shapes):
            self.register_constant(f"sine_{level}", partial(sine_positions, height, width, config.width))

    def forward(self, queries: Tensor, encoded: Sequence[Tensor], pyramid: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        memories = [x.flatten(2).transpose(1, 2) + embed for x, embed in zip(encoded, self.level_embed, strict=True)]
        positions = [self.get_buffer(f"sine_{level}") for level in range(len(memories))]
        x, normed = queries, self.norm(queries)
        for index, layer in enumerate(self.layers):
            level = index % len(memories)
            logits = self.logits_of(self.mask_embed(normed), pyramid[level])  # (B, Q, h_l * w_l)
            x = layer(x, self.query_embed, memories[level], positions[level], self.attention_mask(logits))
            normed = self.norm(x)
        return x, normed

    def mask_logits(self, normed: Tensor, mask_features: Tensor) -> Tensor:
        """Normed states (B, Q, C) and mask features (B, C, h, w) -> mask logits (B, Q, h, w)."""
        logits = self.logits_of(self.mask_embed(normed), mask_features)
        return logits.unflatten(2, mask_features.shape[-2:])


class ConditionScore(nn.Module):
    """How well each query fits each condition: projected state times condition embedding.

    normed states (B, Q, C), conditions (B, K, C) -> logits (B, Q, K); no scale, no norm.
    """

    island = Island("the order of these logits decides which mask is the answer", stays_wide=True)

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = Mlp([width] * 3, relu)

    def forward(self, normed: Tensor, conditions: Tensor) -> Tensor:
        return self.project(normed) @ conditions.transpose(1, 2)
