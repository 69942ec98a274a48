"""Text encoder of CLIP (arXiv 2103.00020): every word's state, and one state for the sentence."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hyperseg_export.modules.attention import attend
from hyperseg_export.modules.constants import ConstantModule
from hyperseg_export.modules.linear import Linear, Mlp, RowPooling, quick_gelu
from hyperseg_export.modules.norms import LayerNorm
from hyperseg_export.modules.residual import ResidualStream


@dataclass(frozen=True)
class ClipTextConfig:
    token_rows: int
    words: int  # token ids of one sentence, padding included
    width: int
    mlp_width: int
    layers: int
    heads: int
    state_width: int
    norm_eps: float = 1e-5


class ClipTextLayer(nn.Module):
    """Pre-norm transformer layer with q, k and v in one matrix product."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.norm1 = LayerNorm(config.width, config.norm_eps)
        self.qkv = Linear(config.width, 3 * config.width)
        self.out = Linear(config.width, config.width)
        self.norm2 = LayerNorm(config.width, config.norm_eps)
        self.mlp = Mlp((config.width, config.mlp_width, config.width), quick_gelu)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        query, key, value = self.qkv(self.norm1(x)).chunk(3, dim=-1)
        x = x + self.out(attend(query, key, value, self.heads, mask))
        return x + self.mlp(self.norm2(x))


class ClipTextEncoder(ConstantModule):
    """token ids (B, T) int64 -> (word states (B, T, width), sentence state (B, state_width)).

    A token looks at itself and at those before it. Padding is not masked: it comes last, so no word sees it, and
    what is computed for it is for the reader of the word states to leave out (unilseg-spec 5).
    """

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.words = config.words
        self.token_embed = nn.Embedding(config.token_rows, config.width)
        self.position_embed = nn.Parameter(torch.empty(config.words, config.width))
        self.stream = ResidualStream()
        self.layers = nn.ModuleList(ClipTextLayer(config) for _ in range(config.layers))
        self.norm = LayerNorm(config.width, config.norm_eps)
        self.end_of_text = RowPooling()
        self.project = Linear(config.width, config.state_width, bias=False)
        self.register_constant("causal_mask", self._causal_mask)
        self.register_constant("earlier_first", lambda: torch.arange(self.words - 1, -1, -1))

    def forward(self, token_ids: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stream(self.token_embed(token_ids) + self.position_embed)
        for layer in self.layers:
            x = layer(x, self.get_buffer("causal_mask"))
        words = self.norm(x)
        state = self.end_of_text(self._first_largest(token_ids).to(words.dtype), words)
        return words, self.project(state).squeeze(1)

    def _causal_mask(self) -> Tensor:
        """True = may attend, (1, 1, T, T)."""
        return torch.ones(1, 1, self.words, self.words, dtype=torch.bool).tril()

    def _first_largest(self, token_ids: Tensor) -> Tensor:
        """True at the first of the largest ids of a sentence (its end-of-text token), (B, 1, T) bool.

        Ids made unique by their place need a maximum and a comparison, no arg-max, which not every runtime has for
        64-bit integers.
        """
        unique = token_ids * self.words + self.get_buffer("earlier_first")
        return (unique == unique.amax(-1, keepdim=True)).unsqueeze(1)
