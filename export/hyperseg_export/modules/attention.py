"""Head splitting, the one attention call shared by the transformers, and the layer that most of them wrap it in."""

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from hyperseg_export.modules.linear import Linear


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, T, H * d) -> (B, H, T, d)"""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, H, T, d) -> (B, T, H * d)"""
    return x.transpose(1, 2).flatten(2)


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d)) v for packed heads.

    query (B, T, H * d), key and value (B, S, H * d), mask bool broadcastable to (B, H, T, S), True = may
    attend; every row of a mask needs one True. Exports as one ONNX Attention node.
    """
    q, k, v = (split_heads(x, heads) for x in (query, key, value))
    return merge_heads(scaled_dot_product_attention(q, k, v, attn_mask=mask))


def key_mask(real: Tensor, queries: int) -> Tensor:
    """Keys that any query may attend to, (B, S) bool -> mask (B, 1, queries, S) for `attend`.

    ONNX Runtime's CPU provider spreads a mask over batch and heads, not over queries.
    """
    return real[:, None, None].expand(-1, -1, queries, -1)


class CrossAttention(nn.Module):
    """Multi-head attention whose queries, keys and values come from three inputs.

    query (B, T, C), key and value (B, S, C), mask as in `attend` -> (B, T, C).
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (Linear(width, width) for _ in range(4))

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = self.query(query), self.key(key), self.value(value)
        return self.out(attend(q, k, v, self.heads, mask))
