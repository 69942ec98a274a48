"""Phi-2 decoder with a key/value cache of fixed capacity. One form serves prefill, suffix and decode."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from hyperseg_export.modules import cache_op
from hyperseg_export.modules.attention import merge_heads, split_heads
from hyperseg_export.modules.constants import ConstantModule
from hyperseg_export.modules.islands import Island
from hyperseg_export.modules.linear import Linear, Mlp, gelu_tanh
from hyperseg_export.modules.norms import LayerNorm
from hyperseg_export.modules.positions import rotary_tables
from hyperseg_export.modules.residual import ResidualStream
from hyperseg_runtime.contracts.precision import Precision

MASKED_SCORE = -1e30
"""Finite, so that a row of masked scores alone would still be a number; exp() of it is zero."""


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


class RotaryEmbedding(nn.Module):
    """Rotates the leading `rotary_width` dims of every head: x (B, H, T, d), tables (S, rotary_width / 2)."""

    island = Island("bf16 has 8 bits for the sine of an angle; as an elementwise step it costs nothing")

    def __init__(self, rotary_width: int) -> None:
        super().__init__()
        self.rotary_width = rotary_width

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, position_ids: Tensor) -> Tensor:
        rotated: Tensor = torch.onnx.ops.rotary_embedding(
            x, cos, sin, position_ids, rotary_embedding_dim=self.rotary_width
        )
        return rotated


class CacheAttention(nn.Module):
    """query (B, H, T, d) over the slots of a cache in use (B, cache heads, s, d) -> (B, H, T, d).

    mask (B, 1, T, s) bool, True = may attend.
    """

    island = Island(
        "attention scores of Phi-2 overflow float16 (huggingface/transformers#28163)",
        frozenset({Precision.FP16}),
        # TensorRT-RTX 1.7.1 crashes on a float32 Attention node that reads a cache it has cast. Written out, the
        # arithmetic is the same. Can go when the fp16 language model builds without it.
        written_as=lambda attention: WrittenOutAttention(attention.shared),
    )

    def __init__(self, shared: bool) -> None:
        super().__init__()
        self.shared = shared  # several query heads per key/value head

    def forward(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        return scaled_dot_product_attention(query, keys, values, attn_mask=mask, enable_gqa=self.shared)


class WrittenOutAttention(CacheAttention):
    """The same in elementary steps, for where the fused node cannot be used."""

    def forward(self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        group = query.shape[1] // keys.shape[1]
        keys, values = (x.repeat_interleave(group, 1) if self.shared else x for x in (keys, values))
        scores = (query * query.shape[-1] ** -0.5) @ keys.transpose(-1, -2)
        return torch.where(mask, scores, MASKED_SCORE).softmax(-1) @ values


class PhiLayer(nn.Module):
    """Attention and MLP in parallel behind one norm: x + out(attention(y)) + mlp(y), y = norm(x)."""

    def __init__(self, config: PhiConfig) -> None:
        super().__init__()
        self.heads, self.cache_heads = config.heads, config.cache_heads
        cache_width = config.cache_heads * config.head_width
        self.widths = [config.width, cache_width, cache_width]
        self.norm = LayerNorm(config.width, config.norm_eps)
        self.qkv = Linear(config.width, sum(self.widths))
        self.rotary = RotaryEmbedding(config.rotary_width)
        self.attention = CacheAttention(shared=config.heads != config.cache_heads)
        self.out = Linear(config.width, config.width)
        self.mlp = Mlp((config.width, config.mlp_width, config.width), gelu_tanh)

    def forward(
        self, x: Tensor, rotary: tuple[Tensor, Tensor, Tensor], mask: Tensor, cache: tuple[Tensor, Tensor],
        write_indices: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        y = self.norm(x)
        query, key, value = self.qkv(y).split(self.widths, dim=-1)
        query = self.rotary(split_heads(query, self.heads), *rotary)
        key = self.rotary(split_heads(key, self.cache_heads), *rotary)
        keys = cache_op.cache_update(cache[0], key, write_indices)  # (B, cache heads, S, d)
        values = cache_op.cache_update(cache[1], split_heads(value, self.cache_heads), write_indices)
        seen = (cache_op.cache_slots(cache, mask) for cache in (keys, values))  # (B, cache heads, s, d)
        attended = self.attention(query, *seen, mask)
        return x + self.out(merge_heads(attended)) + self.mlp(y), keys, values


class PhiDecoder(ConstantModule):
    """inputs_embeds (B, T, D) and caches (B, cache heads, S, d) -> hidden states (B, T, D) and updated caches.

    position_ids (B, T) int64; attention_mask (B, 1, T, s) bool, True = may attend, over the leading s cache slots, the
    only ones that are looked at; write_indices (B,) int64, the slot of the first of the T tokens. The mask is explicit
    (no causal flag) because Attention's causal flag aligns upper-left and is wrong for a decode step.
    """

    def __init__(self, config: PhiConfig) -> None:
        super().__init__()
        self.stream = ResidualStream()
        self.layers = nn.ModuleList(PhiLayer(config) for _ in range(config.layers))
        self.norm = LayerNorm(config.width, config.norm_eps)
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
        x = self.stream(inputs_embeds)
        rotary = (self.get_buffer("rotary_cos"), self.get_buffer("rotary_sin"), position_ids)
        updated = []
        for layer, cache in zip(self.layers, caches, strict=True):
            x, keys, values = layer(x, rotary, attention_mask, cache, write_indices)
            updated.append((keys, values))
        return self.norm(x), updated
