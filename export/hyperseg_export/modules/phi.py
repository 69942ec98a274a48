"""Phi-2 decoder with a key/value cache of fixed capacity. One form serves prefill, suffix and decode."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from hyperseg_export.modules import cache_op
from hyperseg_export.modules.attention import merge_heads, split_heads
from hyperseg_export.modules.constants import ConstantModule
from hyperseg_export.modules.linear import Linear, Mlp, gelu_tanh
from hyperseg_export.modules.positions import rotary_tables


@dataclass(frozen=True)
class PhiConfig:
    width: int
    mlp_width: int
    layers: int
    heads: int
    cache_heads: int  # key/value heads; several query heads may share one
    rotary_width: int  # leading dims of a head that are rotated; the rest carries no position
    rope_theta: float
    context: int  # cache slots, and so the number of positions
    norm_eps: float

    @property
    def head_width(self) -> int:
        return self.width // self.heads


class PhiLayer(nn.Module):
    """Attention and MLP in parallel behind one norm: x + out(attention(y)) + mlp(y), y = norm(x)."""

    def __init__(self, config: PhiConfig) -> None:
        super().__init__()
        self.heads, self.cache_heads = config.heads, config.cache_heads
        self.rotary_width = config.rotary_width
        cache_width = config.cache_heads * config.head_width
        self.widths = [config.width, cache_width, cache_width]
        self.norm = nn.LayerNorm(config.width, config.norm_eps)
        self.qkv = Linear(config.width, sum(self.widths))
        self.out = Linear(config.width, config.width)
        self.mlp = Mlp((config.width, config.mlp_width, config.width), gelu_tanh)

    def forward(
        self, x: Tensor, rotary: tuple[Tensor, Tensor, Tensor], mask: Tensor, cache: tuple[Tensor, Tensor],
        write_indices: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        y = self.norm(x)
        query, key, value = self.qkv(y).split(self.widths, dim=-1)
        query = self._rotate(split_heads(query, self.heads), rotary)
        key = self._rotate(split_heads(key, self.cache_heads), rotary)
        keys = cache_op.cache_update(cache[0], key, write_indices)  # (B, cache heads, S, d)
        values = cache_op.cache_update(cache[1], split_heads(value, self.cache_heads), write_indices)
        shared = self.heads != self.cache_heads
        attended = scaled_dot_product_attention(query, keys, values, attn_mask=mask, enable_gqa=shared)
        return x + self.out(merge_heads(attended)) + self.mlp(y), keys, values

    def _rotate(self, x: Tensor, rotary: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        cos, sin, position_ids = rotary
        rotated: Tensor = torch.onnx.ops.rotary_embedding(
            x, cos, sin, position_ids, rotary_embedding_dim=self.rotary_width
        )
        return rotated


class PhiDecoder(ConstantModule):
    """inputs_embeds (B, T, D) and caches (B, cache heads, S, d) -> hidden states (B, T, D) and updated caches.

    position_ids (B, T) int64; attention_mask (B, 1, T, S) bool, True = may attend, over cache slots;
    write_indices (B,) int64, the slot of the first of the T tokens. The mask is explicit (no causal flag)
    because Attention's causal flag aligns upper-left and is wrong for a decode step.
    """

    def __init__(self, config: PhiConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(PhiLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width, config.norm_eps)
        table = (config.context, config.rotary_width, config.rope_theta)
        self.register_constant("rotary_cos", lambda: rotary_tables(*table)[0])
        self.register_constant("rotary_sin", lambda: rotary_tables(*table)[1])

    def forward(
        self,
        inputs_embeds: Tensor,
        position_ids: Tensor,
        attention_mask: Tensor,
        write_indices: Tensor,
        caches: Sequence[tuple[Tensor, Tensor]],
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        x = inputs_embeds
        rotary = (self.get_buffer("rotary_cos"), self.get_buffer("rotary_sin"), position_ids)
        updated = []
        for layer, cache in zip(self.layers, caches, strict=True):
            x, keys, values = layer(x, rotary, attention_mask, cache, write_indices)
            updated.append((keys, values))
        return self.norm(x), updated
