"""A checkpoint whose tensors are made when asked for: seeded, random, no value zero."""

import hashlib
import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

Entry = tuple[str, tuple[int, ...], torch.dtype]

GAIN_SPREAD = 0.2
BIAS_SPREAD = 0.1
VARIANCE_SPREAD = 0.3
"""Of the logarithm."""
MEAN_SPREAD = 0.1
TRAINING_STEPS = 1000
SMALLEST = 1e-3
"""Noise nearer to zero is moved here, so that no value is zero, not even after rounding to float16."""


class RandomCheckpoint:
    """Has the face of a checkpoint without its files.

    A tensor depends on the seed and its own name only, so any subset of tensors can be made on its own,
    in any order, at any model size. `special` gets a name and standard normal noise of its shape, and may
    return other values than the rule below would make of it.
    """

    def __init__(
        self,
        layout: Iterable[Entry],
        seed: int,
        special: Callable[[str, Tensor], Tensor | None],
    ) -> None:
        entries = list(layout)
        self.shapes = {name: shape for name, shape, _ in entries}
        self.dtypes = {name: dtype for name, _, dtype in entries}
        self._seed = seed
        self._special = special

    def tensor(self, name: str) -> Tensor:
        digest = hashlib.sha256(f"{self._seed} {name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        noise = torch.randn(self.shapes[name], generator=generator)
        value = self._special(name, noise)
        if value is None:
            value = torch.where(noise.abs() < SMALLEST, SMALLEST, noise) * _spread(name, noise) + _centre(name, noise)
        return value.to(self.dtypes[name])


def batch_norm_statistics(name: str, noise: Tensor) -> Tensor | None:
    """What a batch norm may have seen in training; None for other tensors. A `special` of `RandomCheckpoint`."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(TRAINING_STEPS)
    if name.endswith("running_var"):
        return (VARIANCE_SPREAD * noise).exp()
    return MEAN_SPREAD * noise if name.endswith("running_mean") else None


def _centre(name: str, noise: Tensor) -> float:
    """Gains lie around 1, everything else around 0."""
    return 1.0 if noise.dim() == 1 and not name.endswith("bias") else 0.0


def _spread(name: str, noise: Tensor) -> float:
    """Small biases; matrices that keep the size of what they multiply."""
    if name.endswith("bias"):
        return BIAS_SPREAD
    return GAIN_SPREAD if noise.dim() == 1 else 1 / math.sqrt(math.prod(noise.shape[1:]))
