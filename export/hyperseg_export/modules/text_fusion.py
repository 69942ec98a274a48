"""InstructSeg's vision-guided text fusion: what an expression was read as looks at the image's coarsest map."""

import torch
from torch import Tensor, nn

from hyperseg_export.modules.latent_attention import LatentConfig, LatentLayer, MediaKeysValues
from hyperseg_export.modules.linear import Linear
from hyperseg_export.modules.norms import LayerNorm


class MapKeysValues(MediaKeysValues):
    """map (B, c, h, w) -> keys and values of all layers (B, h * w, media_width); no position code."""

    def __init__(self, config: LatentConfig, channels: int) -> None:
        super().__init__(config)
        self.local_project = nn.Conv2d(channels, config.width, 1)

    def forward(self, feature: Tensor) -> Tensor:
        return super().forward(self.local_project(feature).flatten(2).transpose(1, 2))


class TextFusion(nn.Module):
    """Means of expressions (B, K, D) and a map's keys and values (B, M, media_width) -> embeddings (B, K, out).

    An expression's mean looks at the map and at itself, at no other expression. The release also hands over every token
    of the expression; those rows reach no result and are not made (instructseg-spec 3, shown in the golden tests).
    """

    def __init__(self, config: LatentConfig, text_width: int, out_width: int) -> None:
        super().__init__()
        self.project = Linear(text_width, config.width)
        self.origin = Linear(text_width, config.width)
        self.layers = nn.ModuleList(LatentLayer(config) for _ in range(config.layers))
        self.norm = LayerNorm(config.width, config.norm_eps)
        self.out = Linear(2 * config.width, out_width)

    def forward(self, means: Tensor, map_keys_values: Tensor) -> Tensor:
        mask = own_rows(map_keys_values, means)
        latents = self.project(means)
        for layer, keys_values in zip(self.layers, map_keys_values.chunk(len(self.layers), dim=-1), strict=True):
            latents = layer(latents, keys_values, mask)
        return self.out(torch.cat((self.origin(means), self.norm(latents)), dim=-1))


def own_rows(media: Tensor, rows: Tensor) -> Tensor:
    """Which of media (B, M, .) and rows (B, K, .) behind it each row may see: (B, 1, K, M + K) bool."""
    count = rows.shape[1]
    numbers = torch.arange(media.shape[1] + count, device=media.device) - media.shape[1]
    own = numbers == torch.arange(count, device=media.device)[:, None]
    return (own | (numbers < 0)).expand(rows.shape[0], 1, -1, -1)
