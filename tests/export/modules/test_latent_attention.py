"""Perceivers in two halves against the formula in one piece (instructseg-spec 2 and 3)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm

from hyperseg_export.modules.latent_attention import LatentConfig, MediaKeysValues
from hyperseg_export.modules.object_perceiver import ObjectPerceiver
from hyperseg_export.modules.text_fusion import MapKeysValues, TextFusion, own_rows

OVP = LatentConfig(width=20, heads=2, head_width=6, mlp_width=40, layers=3)
VMTF = LatentConfig(width=18, heads=3, head_width=4, mlp_width=36, layers=3)


def filled(module: nn.Module, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for value in module.parameters():
        nn.init.normal_(value, std=0.4, generator=generator)
    return module.eval()


def same_values(half: nn.Module, whole: nn.Module) -> None:
    """Give one half the values that the other has by the same names."""
    values = whole.state_dict()
    half.load_state_dict({name: values.get(name, value) for name, value in half.state_dict().items()})


def norm(layer: nn.Module, x: Tensor) -> Tensor:
    return layer_norm(x, x.shape[-1:], layer.weight, layer.bias, 1e-5)


def step(layer: nn.Module, config: LatentConfig, latents: Tensor, media: Tensor, seen: Tensor) -> Tensor:
    """One layer for one sample, written out: media and `seen` latents are looked at."""
    y, context = norm(layer.norm_latents, latents), torch.cat((media, norm(layer.norm_latents, seen)))
    query = (y @ layer.query.weight).unflatten(1, (config.heads, -1))
    key, value = (x.unflatten(1, (config.heads, -1)) for x in (context @ layer.key_value.weight).chunk(2, 1))
    weights = (torch.einsum("qhd,khd->hqk", query, key) * config.head_width**-0.5).softmax(-1)
    latents = latents + torch.einsum("hqk,khd->qhd", weights, value).flatten(1) @ layer.out.weight
    hidden = gelu(norm(layer.norm_mlp, latents) @ layer.mlp.layers[0].weight)
    return latents + hidden @ layer.mlp.layers[1].weight


@torch.no_grad()
def test_an_object_perceiver_in_two_halves() -> None:
    perceiver = filled(ObjectPerceiver(OVP, queries=5), 0)
    media = MediaKeysValues(OVP)
    filled(media, 1)
    same_values(media, perceiver)
    image, text = torch.randn(2, 7, 20), torch.randn(2, 3, 20)
    found = perceiver(media(image), text)
    for sample in range(2):
        latents = perceiver.latents
        for layer in perceiver.layers:
            seen = norm(layer.norm_media, torch.cat((image[sample], text[sample])))
            latents = step(layer, OVP, latents, seen, latents)
        assert torch.allclose(found[sample], norm(perceiver.norm, latents), atol=1e-4)


@torch.no_grad()
def test_a_text_changes_rows_but_not_what_the_image_gives() -> None:
    perceiver, media = filled(ObjectPerceiver(OVP, queries=5), 0), filled(MediaKeysValues(OVP), 1)
    kept = media(torch.randn(1, 7, 20))
    one, other = (perceiver(kept, torch.randn(1, 3, 20)) for _ in range(2))
    assert not torch.allclose(one, other)


@torch.no_grad()
def test_a_fusion_in_two_halves_sees_the_map_and_its_own_row() -> None:
    fusion, media = filled(TextFusion(VMTF, 20, 11), 2), filled(MapKeysValues(VMTF, 9), 3)
    same_values(fusion, media)
    feature, means = torch.randn(2, 9, 4, 3), torch.randn(2, 3, 20)
    found = fusion(means, media(feature))
    for sample in range(2):
        tokens = media.local_project(feature[sample]).flatten(1).T
        for row in range(3):
            latents = fusion.project(means[sample, row : row + 1])
            for layer, projection in zip(fusion.layers, media.layers, strict=True):
                latents = step(layer, VMTF, latents, norm(projection.norm_media, tokens), latents)
            origin = fusion.origin(means[sample, row])
            expected = fusion.out(torch.cat((origin, norm(fusion.norm, latents)[0])))
            assert torch.allclose(found[sample, row], expected, atol=1e-4)


def test_which_rows_see_each_other() -> None:
    mask = own_rows(torch.zeros(2, 3, 1), torch.zeros(2, 2, 1))
    assert mask.shape == (2, 1, 2, 5)
    assert mask[0, 0].tolist() == [[True] * 3 + [True, False], [True] * 3 + [False, True]]
