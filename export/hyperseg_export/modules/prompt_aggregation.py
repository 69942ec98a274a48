"""What a prompt meant in the frames before counts in this one: HyperSeg's global prompt aggregation."""

import torch
from torch import Tensor, nn

from hyperseg_export.modules.islands import Island


class PromptAggregation(nn.Module):
    """Mean of a prompt's embeddings over the last T frames (arXiv 2411.17606, equation 7: adaptive average pooling of
    frames to one).

    embeddings (B, K, D) of this frame, `earlier` (B, T - 1, K, D) of those before it, `weights` (B, T) of all in the
    order of time: 1 / n for each of the n that there are, 0 for those before the video's first frame
    -> their mean (B, K, D) and what the next frame takes as `earlier`.
    """

    island = Island("takes float32 inputs of the graph as they come", stays_wide=True)

    def forward(self, embeddings: Tensor, earlier: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        frames = torch.cat((earlier, embeddings[:, None]), dim=1)
        return (weights[:, :, None, None] * frames).sum(dim=1), frames[:, 1:]
