"""What golden arrays show beyond the outputs of shared graphs: inner values, and a tower with all its layers."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from hyperseg_export.families.mask_queries.config import MaskQueryConfig
from hyperseg_export.modules.siglip import SiglipConfig, SiglipTower
from hyperseg_export.parity.extra_graphs import ExtraGraph, float_spec
from hyperseg_export.parity.probes import Probe, Taps

Inputs = Sequence[Tensor]


def shared_probes(config: MaskQueryConfig) -> dict[str, Probe]:
    """Graph name -> the inner values to show. Names are those of the golden arrays."""
    phi = [f"phi.layers.{i}" for i in range(config.phi.layers)]
    pixel = [f"pixel_decoder.layers.{i}" for i in range(config.pixel_decoder.layers)]
    return {
        "llm": Probe(tuple(phi), lambda taps, inputs: {f"phi_layer{i}": taps[p][0][0] for i, p in enumerate(phi)}),
        "pixel_decoder": Probe(
            tuple(pixel), lambda taps, inputs: {f"msdeform_layer{i}": taps[p][0] for i, p in enumerate(pixel)}
        ),
    }


SIGLIP = Probe(("siglip",), lambda taps, inputs: {"siglip_features": taps["siglip"][0]})
"""Of the graph clip_encoder."""


def decoder_paths(config: MaskQueryConfig) -> tuple[str, ...]:
    layers = (f"mask_decoder.layers.{i}" for i in range(config.mask_decoder.layers))
    return "mask_decoder.attention_mask", "mask_decoder.mask_embed", *layers


def decoder_values(taps: Taps, mask_features: Tensor) -> dict[str, Tensor]:
    """Decoder states (Q, B, C), attention masks as "may attend", full-size masks before every layer."""
    layers = [path for path in taps if path.startswith("mask_decoder.layers.")]
    embeds = taps["mask_decoder.mask_embed"][: len(layers)]
    masks = [(embed @ mask_features.flatten(2)).unflatten(2, mask_features.shape[2:]) for embed in embeds]
    return {
        **{f"predictor_layer{i}": taps[path][0].transpose(0, 1) for i, path in enumerate(layers)},
        **{f"open{i}": mask for i, mask in enumerate(taps["mask_decoder.attention_mask"])},
        "aux_pred_masks": torch.stack(masks),
    }


class SiglipHiddenStates(nn.Module):
    """The image tower with all stored layers; returns the input of every layer and the last output."""

    def __init__(self, config: SiglipConfig) -> None:
        super().__init__()
        self.siglip = SiglipTower(config)

    def forward(self, images_clip: Tensor) -> tuple[Tensor, ...]:
        states = [self.siglip.embed(images_clip)]
        for layer in self.siglip.layers:
            states.append(layer(states[-1]))
        return tuple(states)


def siglip_hidden_states(siglip: SiglipConfig, stored_layers: int) -> ExtraGraph:
    tower = replace(siglip, layers=stored_layers)
    image = (3, tower.image_px, tower.image_px)
    outputs = [(f"hidden{i}", (tower.tokens, tower.width)) for i in range(stored_layers + 1)]
    spec = float_spec("siglip_hidden_states", [("images_clip", image)], outputs)
    return ExtraGraph(spec, lambda: SiglipHiddenStates(tower))
