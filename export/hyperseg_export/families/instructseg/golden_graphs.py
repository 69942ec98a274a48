"""What the golden arrays show beyond the graphs' outputs: inner values, and both perceivers on given media."""

import torch
from torch import Tensor, nn

from hyperseg_export.families.instructseg.config import InstructsegConfig
from hyperseg_export.families.mask_queries.golden_graphs import (
    SIGLIP,
    decoder_paths,
    decoder_values,
    shared_probes,
)
from hyperseg_export.modules.latent_attention import LatentConfig, MediaLayer
from hyperseg_export.modules.norms import LayerNorm
from hyperseg_export.parity.extra_graphs import ExtraGraph, float_spec
from hyperseg_export.parity.probes import Probe, Taps

STEPS = ("out", "mlp")
"""Attention as it is added, and the MLP as it is added, of each layer."""


def graph_probes(config: InstructsegConfig) -> dict[str, Probe]:
    """Graph name -> the inner values to show. Names are those of the golden arrays."""
    reads = ("rows", "means", "query_projector", "vmtf", "vmtf.project", "vmtf.origin", "vmtf.norm")
    ovp, vmtf = layer_paths("ovp", config.perceiver), layer_paths("vmtf", config.fusion)
    return {
        **shared_probes(config),
        "clip_encoder": SIGLIP,
        "ovp": Probe(ovp, lambda taps, inputs: layer_values(taps, "ovp")),
        "vmtf_media": Probe(
            ("vmtf.local_project",), lambda taps, inputs: {"local_project": taps["vmtf.local_project"][0]}
        ),
        "mask_decoder": Probe(
            (*reads, *vmtf, *decoder_paths(config)),
            lambda taps, inputs: {
                **_read_outs(taps),
                **layer_values(taps, "vmtf"),
                **decoder_values(taps, inputs[0]),
            },
        ),
    }


def layer_paths(name: str, config: LatentConfig) -> tuple[str, ...]:
    layers = [f"{name}.layers.{i}" for i in range(config.layers)]
    return tuple(path for layer in layers for path in (layer, *(f"{layer}.{step}" for step in STEPS)))


def layer_values(taps: Taps, name: str) -> dict[str, Tensor]:
    """Of each layer: attention before and after it is added, and the layer's result."""
    found: dict[str, Tensor] = {}
    for index in range(sum(path.startswith(f"{name}.layers.") and path.count(".") == 2 for path in taps)):
        result, attention, mlp = (taps[f"{name}.layers.{index}{step}"][0] for step in ("", ".out", ".mlp"))
        found |= {
            f"{name}_layer{index}_attn": attention,
            f"{name}_layer{index}_mid": result - mlp,
            f"{name}_layer{index}_out": result,
        }
    return found


def _read_outs(taps: Taps) -> dict[str, Tensor]:
    origin, fused = taps["vmtf.origin"][0], taps["vmtf.norm"][0]
    return {
        "seg_query_hidden": taps["rows"][0],
        "seg_query_256": taps["query_projector"][0],
        "SEG_global_in": taps["means"][0],
        "SEG_global": origin,
        "vmtf_latents_in": taps["vmtf.project"][0],
        "vmtf_out": fused,
        "SEG_embedding_in": torch.cat((origin, fused), dim=-1),
        "SEG_embedding_256": taps["vmtf"][0],
    }


class Perceiver(nn.Module):
    def __init__(self, config: LatentConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MediaLayer(config) for _ in range(config.layers))
        self.norm = LayerNorm(config.width, config.norm_eps)

    def forward(self, media: Tensor, latents: Tensor, mask: Tensor | None) -> Tensor:
        for layer in self.layers:
            latents = layer(latents, media, mask)
        return self.norm(latents)


class Alone(nn.Module):
    """One of the two perceivers on given latents, all of which see media (B, N, D).

    The original lets every latent see all latents in one of them, and the first one alone in the other: `seen` of them.
    """

    def __init__(self, name: str, config: LatentConfig, seen: int) -> None:
        super().__init__()
        self.name, self.seen = name, seen
        self.add_module(name, Perceiver(config))

    def forward(self, media: Tensor, latents: Tensor) -> Tensor:
        places = media.shape[1] + latents.shape[1]
        mask = torch.arange(places, device=media.device) < media.shape[1] + self.seen
        return self.get_submodule(self.name)(media, latents, mask.expand(latents.shape[0], 1, latents.shape[1], -1))


def perceiver_alone(name: str, config: LatentConfig, latents: int, media: int, seen: int) -> ExtraGraph:
    inputs = [("media", (media, config.width)), ("latents", (latents, config.width))]
    outputs = [(f"{name}_out", (latents, config.width))]
    spec = float_spec(f"{name}_alone", inputs, outputs)
    probe = Probe(layer_paths(name, config), lambda taps, given: layer_values(taps, name))
    return ExtraGraph(spec, lambda: Alone(name, config, seen), probe)
