"""Early fusion of an image's tokens and a text's: one attention in both directions (arXiv 2112.03857, hipie-spec 8)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hyperseg_export.modules.attention import merge_heads, split_heads
from hyperseg_export.modules.islands import Island
from hyperseg_export.modules.linear import Linear
from hyperseg_export.modules.norms import LayerNorm

LARGEST_SCORE = 50000.0
MASKED = -60000.0
"""Below every score, and a number in float16."""


@dataclass(frozen=True)
class EarlyFusionConfig:
    width: int
    text_width: int
    inner: int
    heads: int
    norm_eps: float = 1e-5


class TwoWaySoftmax(nn.Module):
    """Scores (B, H, S, T), word_mask (B, T) bool -> (shares of words for tokens, of tokens for words (B, H, T, S)).

    Words are masked for tokens. Nothing is masked for words: they look at padding of the image too.
    """

    island = Island("a softmax over ten thousands of tokens")

    def forward(self, scores: Tensor, word_mask: Tensor) -> tuple[Tensor, Tensor]:
        scores = scores.clamp(-LARGEST_SCORE, LARGEST_SCORE)
        of_words = torch.where(word_mask[:, None, None], scores, MASKED).softmax(-1)
        return of_words, scores.transpose(2, 3).softmax(-1)


class EarlyFusion(nn.Module):
    """tokens (B, S, C), text (B, T, D), word_mask (B, T) bool, True = a real word -> both after the fusion.

    What is found is added to the normalised inputs, not to the inputs.
    """

    def __init__(self, config: EarlyFusionConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.scale = (config.inner // config.heads) ** -0.5
        self.token_norm = LayerNorm(config.width, config.norm_eps)
        self.text_norm = LayerNorm(config.text_width, config.norm_eps)
        self.token_query = Linear(config.width, config.inner)
        self.token_value = Linear(config.width, config.inner)
        self.text_key = Linear(config.text_width, config.inner)
        self.text_value = Linear(config.text_width, config.inner)
        self.token_out = Linear(config.inner, config.width)
        self.text_out = Linear(config.inner, config.text_width)
        self.token_gain = nn.Parameter(torch.empty(config.width))
        self.text_gain = nn.Parameter(torch.empty(config.text_width))
        self.shares = TwoWaySoftmax()

    def forward(self, tokens: Tensor, text: Tensor, word_mask: Tensor) -> tuple[Tensor, Tensor]:
        tokens, text = self.token_norm(tokens), self.text_norm(text)
        query = split_heads(self.token_query(tokens) * self.scale, self.heads)
        token_value = split_heads(self.token_value(tokens), self.heads)
        key, text_value = (split_heads(part(text), self.heads) for part in (self.text_key, self.text_value))
        of_words, of_tokens = self.shares(query @ key.transpose(2, 3), word_mask)
        for_tokens = self.token_out(merge_heads(of_words @ text_value))
        for_text = self.text_out(merge_heads(of_tokens @ token_value))
        return tokens + self.token_gain * for_tokens, text + self.text_gain * for_text
