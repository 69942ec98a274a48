"""Head splitting and the one attention call shared by the transformers."""

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


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
