"""The perceiver resampler against its definition (hyperseg-spec 6.4), one head of one image at a time."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, gelu, layer_norm

from hyperseg_export.modules.resampler import PerceiverResampler, ResamplerConfig
from hyperseg_export.parity.compare import worst_error

DOUBLE = 1e-10
"""Float64 on both sides: only the order of sums differs."""

CASES = {
    "the published proportions": (ResamplerConfig(64, 8, 8, 256, 12, (32, 64, 128), 80), ((16, 16), (8, 8), (4, 4))),
    "heads narrower than the latents": (ResamplerConfig(10, 3, 2, 7, 5, (4, 6), 9, 1e-3), ((3, 5), (1, 2))),
    "one map of one place": (ResamplerConfig(6, 1, 9, 4, 1, (2,), 3), ((1, 1),)),
}


@pytest.mark.parametrize("case", CASES)
def test_tokens_are_the_definition(case: str, randomise: Callable[..., nn.Module]) -> None:
    config, shapes = CASES[case]
    ours = randomise(PerceiverResampler(config))
    maps, latents = random_inputs(config, shapes, batch=2)

    tokens = ours(maps, latents)

    assert tokens.shape == (2, config.queries, config.out_width)
    for image in range(2):
        expected = reference(ours.state_dict(), config, [x[image] for x in maps], latents[image])
        assert worst_error(tokens[image].numpy(), expected.numpy()) < DOUBLE


def test_every_layer_needs_its_map(randomise: Callable[..., nn.Module]) -> None:
    config, shapes = CASES["heads narrower than the latents"]
    maps, latents = random_inputs(config, shapes, batch=1)
    with pytest.raises(ValueError, match="zip"):
        randomise(PerceiverResampler(config))(maps[:1], latents)


def random_inputs(
    config: ResamplerConfig, shapes: Sequence[tuple[int, int]], batch: int
) -> tuple[list[Tensor], Tensor]:
    maps = [
        torch.randn(batch, channels, *shape, dtype=torch.float64)
        for channels, shape in zip(config.map_channels, shapes, strict=True)
    ]
    return maps, torch.randn(batch, config.queries, config.width, dtype=torch.float64)


def reference(
    weights: Mapping[str, Tensor], config: ResamplerConfig, maps: Sequence[Tensor], latents: Tensor
) -> Tensor:
    """Media first, then latents, as keys; no position encoding, no gate, no bias in attention and MLP."""

    def norm(name: str, x: Tensor) -> Tensor:
        return layer_norm(x, (config.width,), weights[f"{name}.weight"], weights[f"{name}.bias"], config.norm_eps)

    for index, feature in enumerate(maps):
        layer, project = f"layers.{index}", f"local_project.{index}"
        local = conv2d(feature[None], weights[f"{project}.weight"], weights[f"{project}.bias"])[0]
        media = local.permute(1, 2, 0).reshape(-1, config.width) + weights["level_embed"][index]
        x, queries = norm(f"{layer}.norm_media", media), norm(f"{layer}.norm_latents", latents)
        keys_values = torch.cat((x, queries)) @ weights[f"{layer}.key_value.weight"]
        inner = config.heads * config.head_width
        keys, values = keys_values[:, :inner], keys_values[:, inner:]
        queries = queries @ weights[f"{layer}.query.weight"] * config.head_width**-0.5
        heads = []
        for head in range(config.heads):
            part = slice(head * config.head_width, (head + 1) * config.head_width)
            heads.append((queries[:, part] @ keys[:, part].t()).softmax(-1) @ values[:, part])
        latents = latents + torch.cat(heads, dim=-1) @ weights[f"{layer}.out.weight"]
        hidden = gelu(norm(f"{layer}.norm_mlp", latents) @ weights[f"{layer}.mlp.layers.0.weight"])
        latents = latents + hidden @ weights[f"{layer}.mlp.layers.1.weight"]
    return norm("norm", latents) @ weights["out.weight"] + weights["out.bias"]


@pytest.mark.parametrize("case", CASES)
def test_gated_tokens_are_the_papers(case: str, randomise: Callable[..., nn.Module]) -> None:
    """Equations 5 and 6 in numpy, one query and one head at a time."""
    config, shapes = replace(CASES[case][0], gated=True), CASES[case][1]
    ours = randomise(PerceiverResampler(config))
    maps, latents = random_inputs(config, shapes, batch=2)
    weights = {name: value.numpy() for name, value in ours.state_dict().items()}

    tokens = ours(maps, latents)

    for image in range(2):
        expected = gated_reference(weights, config, [x[image].numpy() for x in maps], latents[image].numpy())
        assert worst_error(tokens[image].numpy(), expected) < DOUBLE


def test_a_gate_that_begins_closed_hands_the_latents_on(randomise: Callable[..., nn.Module]) -> None:
    config, shapes = CASES["heads narrower than the latents"]
    ours = randomise(PerceiverResampler(replace(config, gated=True)))
    assert isinstance(ours, PerceiverResampler)
    for name, parameter in ours.named_parameters():
        if ".gate.layers.1." in name:
            parameter.zero_()
    maps, latents = random_inputs(config, shapes, batch=1)
    assert torch.equal(ours(maps, latents), ours.out(ours.norm(latents)))


def gated_reference(
    weights: Mapping[str, np.ndarray], config: ResamplerConfig, maps: Sequence[np.ndarray], latents: np.ndarray
) -> np.ndarray:
    """maps (c, h, w) and latents (F, width), float64 -> tokens (F, out_width)."""

    def norm(name: str, rows: np.ndarray) -> np.ndarray:
        centred = rows - rows.mean(1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(1, keepdims=True) + config.norm_eps)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    erf = np.vectorize(math.erf)
    for index, feature in enumerate(maps):
        layer, project = f"layers.{index}", f"local_project.{index}"
        pixels = feature.reshape(len(feature), -1).T @ weights[f"{project}.weight"][:, :, 0, 0].T
        media = pixels + weights[f"{project}.bias"] + weights["level_embed"][index]
        seen = np.concatenate([norm(f"{layer}.norm_media", media), norm(f"{layer}.norm_latents", latents)])
        keys, values = np.split(seen @ weights[f"{layer}.key_value.weight"], 2, axis=1)
        queries = norm(f"{layer}.norm_latents", latents) @ weights[f"{layer}.query.weight"]
        found = np.zeros_like(queries)
        for head in range(config.heads):
            part = slice(head * config.head_width, (head + 1) * config.head_width)
            for row, query in enumerate(queries):
                likeness = np.exp(keys[:, part] @ query[part] / math.sqrt(config.head_width))
                found[row, part] = likeness @ values[:, part] / likeness.sum()
        found = found @ weights[f"{layer}.out.weight"]  # P', equation 5
        hidden = found @ weights[f"{layer}.gate.layers.0.weight"] + weights[f"{layer}.gate.layers.0.bias"]
        hidden = hidden * (1 + erf(hidden / math.sqrt(2))) / 2
        gate = hidden @ weights[f"{layer}.gate.layers.1.weight"] + weights[f"{layer}.gate.layers.1.bias"]
        latents = latents + np.tanh(gate) * found  # equation 6
    return norm("norm", latents) @ weights["out.weight"] + weights["out.bias"]
