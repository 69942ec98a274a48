"""Loss functions; each returns one number per item or a mean."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, smooth_l1_loss

from hyperseg_export.families.hyperseg.training.auxiliary import OUTPUTS
from hyperseg_export.families.hyperseg.training.targets import IGNORED

BACKGROUND_WEIGHT = 0.15
"""Of a place without a thing, against 1 of a place with one: most places have none."""


OUTPUT_WEIGHTS = (0.5, 3.0, 1.5, 1.0, 0.5, 0.5)
"""Of colour, shape, texture, size, column and row: a shape is the hardest to see and would be learned last."""


def head_loss(outputs: Tensor, classes: Tensor) -> Tensor:
    """Weighted mean cross-entropy of all outputs of a head: (R, sum(OUTPUTS) + 2) against classes (R, 6)."""
    weight = torch.where(classes[:, 0] > 0, 1.0, BACKGROUND_WEIGHT)
    total = outputs.new_zeros(())
    parts = outputs[:, :-2].split(OUTPUTS, dim=1)
    for share, logits, wanted in zip(OUTPUT_WEIGHTS, parts, classes.unbind(1), strict=True):
        loss = cross_entropy(logits, wanted, reduction="none", ignore_index=IGNORED)
        total = total + share * (loss * weight).sum() / (weight * (wanted != IGNORED)).sum().clamp(min=1e-6)
    return total / sum(OUTPUT_WEIGHTS)


def shapes_right(outputs: Tensor, classes: Tensor) -> Tensor:
    """Part of the things' places whose shape a head tells; no gradient."""
    with torch.no_grad():
        there = classes[:, 1] > 0
        told = outputs[:, :-2].split(OUTPUTS, dim=1)[1].argmax(1)
        right: Tensor = (told == classes[:, 1])[there].float().mean()
    return right


def offset_loss(outputs: Tensor, offsets: Tensor, there: Tensor) -> Tensor:
    """Distance to the thing's centre: the last two of a head's outputs (R, ...) against (R, 2) where `there` (R,)."""
    loss = smooth_l1_loss(outputs[:, -2:], offsets, beta=0.05, reduction="none").sum(1)
    return (loss * there).sum() / there.sum().clamp(min=1)


def mask_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy and dice of every query's mask: logits (N, Q, h, w), targets (N, h, w) in 0..1 -> (N, Q).

    A target is the part of each cell that is covered, so the logit 0 comes to lie where half of a cell is.
    """
    wanted = targets.unsqueeze(1).expand_as(logits)
    pixel = binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean((2, 3))
    sure = logits.sigmoid()
    shared, sizes = (sure * wanted).sum((2, 3)), (sure + wanted).sum((2, 3))
    return 4 * pixel + 1 - (2 * shared + 1) / (sizes + 1)


def mean_and_best(losses: Tensor) -> Tensor:
    """Half the mean over queries, half the best query's: (N, Q) -> scalar."""
    return 0.5 * losses.mean() + 0.5 * losses.amin(1).mean()


def soft_iou(logits: Tensor, targets: Tensor) -> Tensor:
    """IoU of binarised masks with soft targets: logits (N, Q, h, w), targets (N, K, h, w) -> (N, Q, K); no gradient."""
    with torch.no_grad():
        inside = (logits > 0).float().flatten(2)
        wanted = targets.flatten(2)
        shared = inside @ wanted.transpose(1, 2)
        union = inside.sum(2, keepdim=True) + wanted.sum(2).unsqueeze(1) - shared
        return shared / union.clamp(min=1e-6)
