"""What is known of a batch of scenes, as tensors."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, one_hot

from hyperseg_bench.quality.datasets.shapes.scene import MOST
from hyperseg_export.families.hyperseg.training.auxiliary import BINS
from hyperseg_export.families.hyperseg.training.scenes import SceneArrays
from hyperseg_runtime.images.preprocessing import longest_side_square, plain_square

IGNORED = -100
"""Class of places without an answer."""


@dataclass(frozen=True)
class Targets:
    """labels (B, S, S) int64; attributes (B, 6, 4) int64; centres (B, 6, 2) in 0..1."""

    labels: Tensor
    attributes: Tensor
    centres: Tensor

    @classmethod
    def of(cls, scenes: SceneArrays, rows: np.ndarray) -> "Targets":
        return cls(
            torch.as_tensor(scenes.labels[rows].astype(np.int64)),
            torch.as_tensor(scenes.attributes[rows].astype(np.int64)),
            torch.as_tensor(scenes.centres[rows]),
        )

    @property
    def things(self) -> Tensor:
        """Which of the six exist, (B, 6) bool."""
        return self.attributes[..., 0] > 0

    @property
    def bins(self) -> Tensor:
        """Column and row of each centre, (B, 6, 2) int64."""
        return (self.centres * BINS).long().clamp(0, BINS - 1)

    def coverage(self, size: int) -> Tensor:
        """Part of each cell of a size x size grid that each thing covers, (B, 6, size, size)."""
        layers = one_hot(self.labels, MOST + 1)[..., 1:].permute(0, 3, 1, 2).float()
        return avg_pool2d(layers, self.labels.shape[-1] // size)

    def sampled(self, size: int) -> Tensor:
        """Labels at the centres of the cells of a size x size grid, (B, size * size)."""
        side = self.labels.shape[-1]
        index = ((torch.arange(size) + 0.5) * side / size).long()
        return self.labels[:, index][:, :, index].flatten(1)

    def in_cells(self, size: int) -> Tensor:
        """The foremost thing whose centre lies in each cell of a size x size grid, as labels (B, size * size)."""
        cells = (self.centres * size).long().clamp(0, size - 1)
        flat = cells[..., 1] * size + cells[..., 0]
        numbers = torch.arange(1, MOST + 1).expand_as(flat) * self.things
        return torch.zeros(len(flat), size * size, dtype=torch.int64).scatter_reduce(1, flat, numbers, "amax")

    def at(self, labels: Tensor) -> Tensor:
        """Classes of all head outputs for labels (B, P): (B, P, 6) int64, `IGNORED` for places of the background."""
        there = (labels > 0).unsqueeze(-1)
        index = (labels - 1).clamp(min=0).unsqueeze(-1)
        attributes = self.attributes.gather(1, index.expand(-1, -1, self.attributes.shape[-1]))
        bins = self.bins.gather(1, index.expand(-1, -1, 2))
        return torch.cat((torch.where(there, attributes, 0), torch.where(there, bins, IGNORED)), dim=-1)

    def centres_at(self, labels: Tensor) -> Tensor:
        """Centres of the things of labels (B, P), (B, P, 2); of any thing where the label is 0."""
        return self.centres.gather(1, (labels - 1).clamp(min=0).unsqueeze(-1).expand(-1, -1, 2))


def network_inputs(images: np.ndarray, image_px: int, clip_image_px: int) -> tuple[Tensor, Tensor]:
    """(B, S, S, 3) uint8 -> what the two encoders take, preprocessed as at inference."""
    large = np.stack([longest_side_square(image, image_px)[0] for image in images])
    small = np.stack([plain_square(image, clip_image_px) for image in images])
    return torch.as_tensor(large), torch.as_tensor(small)
