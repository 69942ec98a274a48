"""InstructSeg's object-aware video perceiver: latents that look at an image's tokens and at a text's."""

import torch
from torch import Tensor, nn

from hyperseg_export.modules.latent_attention import LatentConfig, MediaLayer
from hyperseg_export.modules.norms import LayerNorm


class ObjectPerceiver(nn.Module):
    """image keys and values (B, N, media_width), text (B, R, width) -> rows of the language model (B, F, width).

    Every image starts from the same learned latents and sees no other image and no other text (instructseg-spec 2).
    """

    def __init__(self, config: LatentConfig, queries: int) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.empty(queries, config.width))
        self.layers = nn.ModuleList(MediaLayer(config) for _ in range(config.layers))
        self.norm = LayerNorm(config.width, config.norm_eps)

    def forward(self, image_keys_values: Tensor, text: Tensor) -> Tensor:
        latents = self.latents.expand(text.shape[0], -1, -1)
        for layer, keys_values in zip(self.layers, image_keys_values.chunk(len(self.layers), dim=-1), strict=True):
            latents = layer(latents, text, None, keys_values)
        return self.norm(latents)
