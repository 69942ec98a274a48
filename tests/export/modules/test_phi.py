"""Phi-2 with a fixed cache against transformers' Phi without one."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import PhiConfig as TheirConfig
from transformers import PhiModel

from hyperseg_export.modules.phi import PhiConfig, PhiDecoder
from hyperseg_export.parity.compare import worst_error

ROTARY = 1e-6
"""Float64 on both sides except for the rotary tables, which are float32."""

CONFIGS = {
    "the published proportions": PhiConfig(80, 160, 2, 4, 4, 8, 10000.0, 24, 1e-5),
    "shared cache heads": PhiConfig(36, 20, 3, 6, 2, 4, 500.0, 17, 1e-3),
    "one cache head, every dim rotated": PhiConfig(24, 10, 1, 4, 1, 6, 100.0, 13, 1e-5),
}
Models = tuple[PhiConfig, PhiDecoder, nn.Module]
Caches = list[tuple[Tensor, Tensor]]


@pytest.fixture(params=CONFIGS)
def models(
    request: pytest.FixtureRequest, randomise: Callable[..., nn.Module], load: Callable[..., nn.Module]
) -> Models:
    """Configuration, our decoder, transformers' decoder with the same weights."""
    config = CONFIGS[request.param]
    theirs = randomise(PhiModel(their_config(config)))
    return config, load(PhiDecoder(config), our_weights(theirs, config)), theirs


def test_prefill_is_transformers_and_fills_the_first_slots(models: Models) -> None:
    config, ours, theirs = models
    embeds = random_embeds(config, 11)
    caches = empty_caches(config)

    hidden, updated = ours(*inputs_of(config, embeds, [0, 0]), caches)

    assert worst_error(hidden.numpy(), full_forward(theirs, embeds).numpy()) < ROTARY
    cache = theirs(inputs_embeds=embeds, use_cache=True).past_key_values
    for (keys, values), layer in zip(updated, cache.layers, strict=True):
        assert worst_error(keys[:, :, :11].numpy(), layer.keys.numpy()) < ROTARY
        assert worst_error(values[:, :, :11].numpy(), layer.values.numpy()) < ROTARY
        assert not keys[:, :, 11:].any()
        assert not values[:, :, 11:].any()


@settings(deadline=None, max_examples=20)
@given(st.sets(st.integers(1, 16), max_size=5))
def test_any_way_to_cut_a_sequence_gives_the_same_states(cuts: set[int]) -> None:
    """Prefill, suffix and decode are one form: pieces of any length, the cache carries the rest."""
    config = CONFIGS["shared cache heads"]
    ours, embeds = random_decoder(config), random_embeds(config, config.context)
    whole, _ = ours(*inputs_of(config, embeds, [0, 0]), empty_caches(config))

    pieces, caches = [], empty_caches(config)
    edges = [0, *sorted(cuts), config.context]
    for start, end in pairwise(edges):
        hidden, caches = ours(*inputs_of(config, embeds[:, start:end], [start, start]), caches)
        pieces.append(hidden)

    assert worst_error(torch.cat(pieces, 1).numpy(), whole.numpy()) < ROTARY


def test_rows_of_a_batch_decode_at_slots_of_their_own(models: Models) -> None:
    """Two prompts of 4 and 9 tokens, padded to 9; then one more token each."""
    config, ours, theirs = models
    embeds, lengths = random_embeds(config, 9), [4, 9]
    _, caches = ours(*inputs_of(config, embeds, [0, 0]), empty_caches(config))
    token = random_embeds(config, 1)

    hidden, _ = ours(*inputs_of(config, token, lengths), caches)

    for row, length in enumerate(lengths):
        prompt = torch.cat((embeds[row : row + 1, :length], token[row : row + 1]), dim=1)
        expected = full_forward(theirs, prompt)[0, -1]
        assert worst_error(hidden[row, 0].numpy(), expected.numpy()) < ROTARY


def test_slots_that_the_mask_closes_are_not_read(models: Models) -> None:
    config, ours, _ = models
    arguments = inputs_of(config, random_embeds(config, 5), [0, 0])
    empty = empty_caches(config)
    full = [(torch.randn_like(keys), torch.randn_like(values)) for keys, values in empty]
    assert worst_error(ours(*arguments, full)[0].numpy(), ours(*arguments, empty)[0].numpy()) < ROTARY


def test_one_cache_per_layer_is_needed(models: Models) -> None:
    config, ours, _ = models
    with pytest.raises(ValueError, match="zip"):
        ours(*inputs_of(config, random_embeds(config, 2), [0, 0]), empty_caches(config)[:-1])


def random_embeds(config: PhiConfig, tokens: int) -> Tensor:
    return torch.randn(2, tokens, config.width, dtype=torch.float64)


def random_decoder(config: PhiConfig) -> PhiDecoder:
    ours = PhiDecoder(config).double().requires_grad_(False)
    for parameter in ours.parameters():
        parameter.normal_(std=parameter.shape[0] ** -0.5)
    return ours


def empty_caches(config: PhiConfig) -> Caches:
    shape = (2, config.cache_heads, config.context, config.head_width)
    return [
        (torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)) for _ in range(config.layers)
    ]


def inputs_of(config: PhiConfig, embeds: Tensor, starts: Sequence[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Embeddings, positions, causal mask over slots, first slots, for rows whose tokens begin at `starts`."""
    write_indices = torch.tensor(starts)
    positions = write_indices[:, None] + torch.arange(embeds.shape[1])
    mask = torch.arange(config.context) <= positions[:, None, :, None]
    return embeds, positions, mask, write_indices


def full_forward(theirs: nn.Module, embeds: Tensor) -> Tensor:
    return theirs(inputs_embeds=embeds, use_cache=False).last_hidden_state


def their_config(config: PhiConfig) -> TheirConfig:
    return TheirConfig(
        vocab_size=1,
        hidden_size=config.width,
        intermediate_size=config.mlp_width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.cache_heads,
        hidden_act="gelu_new",
        layer_norm_eps=config.norm_eps,
        rope_theta=config.rope_theta,
        partial_rotary_factor=config.rotary_width / config.head_width,
        max_position_embeddings=config.context,
        pad_token_id=None,
        bos_token_id=0,
        eos_token_id=0,
    )


def our_weights(theirs: nn.Module, config: PhiConfig) -> dict[str, Tensor]:
    stored = theirs.state_dict()
    weights = {}
    for p in ("weight", "bias"):
        weights[f"norm.{p}"] = stored[f"final_layernorm.{p}"]
        for index in range(config.layers):
            layer = f"layers.{index}"
            qkv = [stored[f"{layer}.self_attn.{letter}_proj.{p}"] for letter in "qkv"]
            weights[f"{layer}.qkv.{p}"] = torch.cat(qkv)
            weights[f"{layer}.out.{p}"] = stored[f"{layer}.self_attn.dense.{p}"]
            weights[f"{layer}.norm.{p}"] = stored[f"{layer}.input_layernorm.{p}"]
            weights[f"{layer}.mlp.layers.0.{p}"] = stored[f"{layer}.mlp.fc1.{p}"]
            weights[f"{layer}.mlp.layers.1.{p}"] = stored[f"{layer}.mlp.fc2.{p}"]
    return weights
