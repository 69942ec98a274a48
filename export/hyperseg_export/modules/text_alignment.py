"""How well queries fit words (arXiv 2112.03857; hipie-spec 11)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from hyperseg_export.modules.islands import Island
from hyperseg_export.modules.linear import Linear

LARGEST_LOGIT = 50000.0
NORM_EPS = 1e-12


class TextAlignment(nn.Module):
    """states (B, Q, C), text (B, T, D) -> logits (B, Q, T)."""

    island = Island("the order of these logits decides what a query is called", stays_wide=True)

    def __init__(self, width: int, text_width: int) -> None:
        super().__init__()
        self.project = Linear(text_width, width)
        self.text_bias = nn.Parameter(torch.empty(text_width))
        self.bias = nn.Parameter(torch.empty(1))
        self.log_scale = nn.Parameter(torch.empty(1))

    def forward(self, states: Tensor, text: Tensor) -> Tensor:
        words = normalize(text, dim=-1, eps=NORM_EPS)
        fit = states @ self.project(words / 2).transpose(1, 2) / self.log_scale.exp()
        logits = fit + ((words * self.text_bias).sum(-1) + self.bias)[:, None]
        return logits.clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
