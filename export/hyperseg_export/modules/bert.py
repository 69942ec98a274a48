"""BERT (arXiv 1810.04805): post-norm transformer over the tokens of a text."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hyperseg_export.modules.attention import attend, key_mask
from hyperseg_export.modules.linear import Linear, Mlp, gelu
from hyperseg_export.modules.norms import LayerNorm


@dataclass(frozen=True)
class BertConfig:
    token_rows: int
    positions: int
    width: int
    mlp_width: int
    layers: int
    heads: int
    norm_eps: float = 1e-12


class BertLayer(nn.Module):
    """Self-attention with q, k and v in one matrix product, MLP; each residual with a norm after it."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = Linear(config.width, 3 * config.width)
        self.out = Linear(config.width, config.width)
        self.norm1 = LayerNorm(config.width, config.norm_eps)
        self.mlp = Mlp((config.width, config.mlp_width, config.width), gelu)
        self.norm2 = LayerNorm(config.width, config.norm_eps)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        x = self.norm1(x + self.out(attend(query, key, value, self.heads, mask)))
        return self.norm2(x + self.mlp(x))


class BertEncoder(nn.Module):
    """token_ids (B, T) int64, word_mask (B, T) bool, True = a real token -> states (B, T, width).

    Padding is no key to anyone; its own states are computed all the same (hipie-spec 5). Every text needs one token.
    Positions hold the embedding of the first token type too: all tokens are of that type.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.token_embed = nn.Embedding(config.token_rows, config.width)
        self.position_embed = nn.Parameter(torch.empty(config.positions, config.width))
        self.embed_norm = LayerNorm(config.width, config.norm_eps)
        self.layers = nn.ModuleList(BertLayer(config) for _ in range(config.layers))

    def forward(self, token_ids: Tensor, word_mask: Tensor) -> Tensor:
        tokens = token_ids.shape[1]
        positions = self.position_embed[torch.arange(tokens, device=token_ids.device)]
        x = self.embed_norm(self.token_embed(token_ids) + positions)
        mask = key_mask(word_mask, tokens)
        for layer in self.layers:
            x = layer(x, mask)
        return x
