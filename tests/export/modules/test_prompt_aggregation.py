"""Global prompt aggregation against its definition, frame after frame of made clips."""

import numpy as np
import pytest
import torch

from hyperseg_export.modules.prompt_aggregation import PromptAggregation
from hyperseg_export.parity.compare import worst_error

DOUBLE = 1e-12


@pytest.mark.parametrize("frames", [2, 3, 5])
def test_a_frame_takes_the_mean_of_the_last_ones(frames: int) -> None:
    """Of two images, three conditions each; adaptive average pooling of n frames to one is their mean."""
    clip = np.random.default_rng(0).standard_normal((7, 2, 3, 4))
    aggregation, earlier = PromptAggregation(), torch.zeros(2, frames - 1, 3, 4, dtype=torch.float64)
    for number, embeddings in enumerate(clip):
        there = min(number + 1, frames)
        weights = np.zeros((2, frames))
        weights[:, frames - there :] = 1 / there
        mean, earlier = aggregation(torch.from_numpy(embeddings), earlier, torch.from_numpy(weights))
        expected = sum(clip[past] for past in range(number + 1 - there, number + 1)) / there
        assert worst_error(mean.numpy(), expected) < DOUBLE
        pooled = torch.nn.functional.adaptive_avg_pool1d(
            torch.from_numpy(clip[number + 1 - there : number + 1]).flatten(1).t()[None], 1
        )
        assert worst_error(mean.flatten().numpy(), pooled.flatten().numpy()) < DOUBLE
