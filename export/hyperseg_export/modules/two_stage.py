"""Two-stage detection (arXiv 2010.04159, A.4): every token proposes a box, the best ones become queries."""

import torch
from torch import Tensor, nn

from hyperseg_export.modules.islands import Island
from hyperseg_export.modules.levels import Levels
from hyperseg_export.modules.linear import Linear
from hyperseg_export.modules.norms import LayerNorm

FINEST_BOX = 0.05
"""Side of the box that a token of the first level proposes; it doubles from level to level."""
MARGIN = 0.01
"""A proposal closer to 0 or 1 than that, in any of its four numbers, is none."""


def proposals(levels: Levels) -> tuple[Tensor, Tensor]:
    """Every token's box before the sigmoid, (B, S, 4), and whether it is one, (B, S, 1) bool; 0 where it is not."""
    centres = levels.centres
    sides = torch.cat([centres.new_full((1, 2), FINEST_BOX * 2**level) for level in range(len(levels.shapes))])
    boxes = torch.cat((centres, levels.of_tokens(sides).expand_as(centres)), dim=-1)
    usable = ((boxes > MARGIN) & (boxes < 1 - MARGIN)).all(-1, keepdim=True) & levels.inside
    # A number that is no proposal may have no logarithm either.
    known = torch.where(usable, boxes, 0.5)
    return torch.log(known / (1 - known)), usable


class ProposalStates(nn.Module):
    """Tokens (B, S, C), usable (B, S, 1) bool -> what they say as proposals (B, S, C); an unusable one is read as 0."""

    def __init__(self, width: int, norm_eps: float = 1e-5) -> None:
        super().__init__()
        self.project = Linear(width, width)
        self.norm = LayerNorm(width, norm_eps)

    def forward(self, tokens: Tensor, usable: Tensor) -> Tensor:
        return self.norm(self.project(torch.where(usable, tokens, 0.0)))


class BestTokens(nn.Module):
    """Scores (B, S) -> the `count` best tokens' numbers (B, count) int64, best first."""

    island = Island("what is selected becomes queries: rounded scores select others", stays_wide=True)

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, scores: Tensor) -> Tensor:
        return scores.topk(self.count, dim=1).indices


class ProposedBoxes(nn.Module):
    """Deltas and proposals before the sigmoid (B, Q, 4), usable (B, Q, 1) bool -> boxes in 0..1; an unusable
    one is all 1.

    The release has infinity for an unusable proposal, whose sigmoid is 1 (hipie-spec 10).
    """

    island = Island("boxes are refined layer by layer: a rounded one moves all that follow", stays_wide=True)

    def forward(self, delta: Tensor, proposal: Tensor, usable: Tensor) -> Tensor:
        return torch.where(usable, (delta + proposal).sigmoid(), 1.0)


def picked(rows: Tensor, numbers: Tensor) -> Tensor:
    """Rows (B, S, D), numbers (B, Q) int64 -> (B, Q, D)."""
    return rows.gather(1, numbers.unsqueeze(-1).expand(-1, -1, rows.shape[2]))
