"""SigLIP against transformers' tower: the output of the last layer but one."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import SiglipVisionConfig, SiglipVisionModel

from hyperseg_export.modules.siglip import SiglipConfig, SiglipTower
from hyperseg_export.parity.compare import worst_error

DOUBLE = 1e-10
"""Float64 on both sides: only the order of sums differs."""

CONFIGS = {
    "the published proportions": SiglipConfig(48, 96, 2, 4, 14, 76, 1e-6),
    "pixels left over": SiglipConfig(24, 20, 3, 3, 7, 34, 1e-3),
    "one patch": SiglipConfig(10, 4, 1, 1, 5, 9, 1e-6),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_tokens_are_transformers_second_last_hidden_state(
    case: str, randomise: Callable[..., nn.Module], load: Callable[..., nn.Module]
) -> None:
    config = CONFIGS[case]
    theirs = randomise(SiglipVisionModel(their_config(config, layers=config.layers + 1)))
    ours = load(SiglipTower(config), our_weights(theirs, config.layers))
    images = torch.randn(2, 3, config.image_px, config.image_px, dtype=torch.float64)

    tokens = ours(images)

    assert tokens.shape == (2, config.tokens, config.width)
    expected = theirs(images, output_hidden_states=True).hidden_states[-2]
    assert worst_error(tokens.numpy(), expected.numpy()) < DOUBLE


def test_the_input_of_the_first_layer_is_transformers(
    randomise: Callable[..., nn.Module], load: Callable[..., nn.Module]
) -> None:
    config = CONFIGS["pixels left over"]
    theirs = randomise(SiglipVisionModel(their_config(config, config.layers)))
    ours = load(SiglipTower(config), our_weights(theirs, config.layers))
    images = torch.randn(1, 3, 34, 34, dtype=torch.float64)
    expected = theirs(images, output_hidden_states=True).hidden_states[0]
    assert worst_error(ours.embed(images).numpy(), expected.numpy()) < DOUBLE


@pytest.mark.parametrize(("image_px", "patch_px", "tokens"), [(384, 14, 729), (14, 14, 1), (27, 14, 1), (28, 14, 4)])
def test_only_whole_patches_count(image_px: int, patch_px: int, tokens: int) -> None:
    config = SiglipConfig(1, 1, 1, 1, patch_px, image_px, 1e-6)
    assert config.tokens == tokens


def their_config(config: SiglipConfig, layers: int) -> SiglipVisionConfig:
    return SiglipVisionConfig(
        hidden_size=config.width,
        intermediate_size=config.mlp_width,
        num_hidden_layers=layers,
        num_attention_heads=config.heads,
        image_size=config.image_px,
        patch_size=config.patch_px,
        layer_norm_eps=config.norm_eps,
        hidden_act="gelu_pytorch_tanh",
    )


def our_weights(theirs: nn.Module, layers: int) -> dict[str, Tensor]:
    stored = theirs.state_dict()
    weights = {"position_embed": stored["embeddings.position_embedding.weight"]}
    for p in ("weight", "bias"):
        weights[f"patch_embed.{p}"] = stored[f"embeddings.patch_embedding.{p}"]
        for index in range(layers):
            ours, layer = f"layers.{index}", f"encoder.layers.{index}"
            qkv = [stored[f"{layer}.self_attn.{letter}_proj.{p}"] for letter in "qkv"]
            weights[f"{ours}.qkv.{p}"] = torch.cat(qkv)
            weights[f"{ours}.out.{p}"] = stored[f"{layer}.self_attn.out_proj.{p}"]
            weights[f"{ours}.norm1.{p}"] = stored[f"{layer}.layer_norm1.{p}"]
            weights[f"{ours}.norm2.{p}"] = stored[f"{layer}.layer_norm2.{p}"]
            weights[f"{ours}.mlp.layers.0.{p}"] = stored[f"{layer}.mlp.fc1.{p}"]
            weights[f"{ours}.mlp.layers.1.{p}"] = stored[f"{layer}.mlp.fc2.{p}"]
    return weights
