"""Vision of many scenes kept in memory, while language is learned on it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hyperseg_export.families.hyperseg.training.network import Network, Vision
from hyperseg_export.families.hyperseg.training.scenes import SceneArrays
from hyperseg_export.families.hyperseg.training.targets import Targets, network_inputs
from hyperseg_export.modules.mask_decoder import mask_feature_pyramid

BATCH = 16


@dataclass(frozen=True)
class FeatureStore:
    """float16: image_tokens (N, I, D), fvp_tokens (N, F, D), mask_features (N, C, h, w), encoded maps; coverage
    (N, 6, h, w) uint8 in sixteenths.
    """

    image_tokens: Tensor
    fvp_tokens: Tensor
    mask_features: Tensor
    encoded: tuple[Tensor, ...]
    coverage: Tensor

    @classmethod
    def of(
        cls, network: Network, scenes: SceneArrays, count: int, tell: Callable[[int], None] = lambda done: None
    ) -> "FeatureStore":
        """The last `count` scenes: about 200 KB each at the sizes of the recipe."""
        kept: list[list[Tensor]] = []
        first = len(scenes) - count
        for start in range(first, len(scenes), BATCH):
            rows = np.arange(start, min(start + BATCH, len(scenes)))
            inputs = network_inputs(scenes.images[rows], network.dims.image_px, network.dims.clip_image_px)
            with torch.no_grad():
                vision = network.see(*inputs)
            parts = (vision.image_tokens, vision.fvp_tokens, vision.mask_features, *vision.decoded[4:])
            coverage = Targets.of(scenes, rows).coverage(vision.mask_features.shape[-1])
            kept.append([*(part.half() for part in parts), (16 * coverage).round().to(torch.uint8)])
            tell(int(rows[-1]) + 1 - first)
        image_tokens, fvp_tokens, mask_features, *encoded, coverage = (
            torch.cat(part) for part in zip(*kept, strict=True)
        )
        return cls(image_tokens, fvp_tokens, mask_features, tuple(encoded), coverage)

    def vision(self, rows: np.ndarray) -> Vision:
        """Rows count from the first scene that is kept."""
        mask_features, *encoded = (part[rows].float() for part in (self.mask_features, *self.encoded))
        shapes = [(part.shape[2], part.shape[3]) for part in encoded]
        decoded = (mask_features, *mask_feature_pyramid(mask_features, shapes), *encoded)
        return Vision(self.image_tokens[rows].float(), self.fvp_tokens[rows].float(), decoded)
