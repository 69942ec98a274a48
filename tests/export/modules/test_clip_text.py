"""The text encoder against CLIP's in transformers, and the place of the end of text."""

from collections.abc import Callable

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from hyperseg_export.modules.clip_text import ClipTextConfig, ClipTextEncoder
from hyperseg_export.parity.compare import worst_error

DOUBLE = 1e-10
"""Float64 on both sides: only the order of sums differs."""

CONFIG = ClipTextConfig(token_rows=40, words=9, width=24, mlp_width=28, layers=3, heads=4, state_width=10)
END = CONFIG.token_rows - 1


def test_states_are_clips(randomise: Callable[..., nn.Module], load: Callable[..., nn.Module]) -> None:
    theirs = randomise(CLIPTextModelWithProjection(their_config(CONFIG)))
    ours = load(ClipTextEncoder(CONFIG), our_weights(theirs, CONFIG))
    ids = torch.tensor([[38, 5, 7, END, 0, 0, 0, 0, 0], [38, END, 0, 0, 0, 0, 0, 0, 0], [38, 1, 2, 3, 4, 5, 6, 7, END]])

    words, state = ours(ids)

    expected = theirs(input_ids=ids)
    assert worst_error(words.numpy(), expected.last_hidden_state.numpy()) < DOUBLE
    assert worst_error(state.numpy(), expected.text_embeds.numpy()) < DOUBLE


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.integers(0, 49407), min_size=17, max_size=17), min_size=1, max_size=4))
def test_the_end_is_the_first_of_the_largest_ids(ids: list[list[int]]) -> None:
    """unilseg-spec 4: argmax, first on ties."""
    with torch.device("meta"):
        encoder = ClipTextEncoder(ClipTextConfig(49408, 17, 8, 8, 1, 1, 8))
    encoder.register_buffer("earlier_first", dict(encoder.constants())["earlier_first"](), persistent=False)
    found = encoder._first_largest(torch.tensor(ids))
    assert found.sum().item() == len(ids)
    assert found[:, 0].int().argmax(1).tolist() == [row.index(max(row)) for row in ids]


def their_config(config: ClipTextConfig) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=config.token_rows,
        hidden_size=config.width,
        intermediate_size=config.mlp_width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        max_position_embeddings=config.words,
        projection_dim=config.state_width,
        hidden_act="quick_gelu",
        bos_token_id=END - 1,
        eos_token_id=END,
        layer_norm_eps=config.norm_eps,
    )


def our_weights(theirs: nn.Module, config: ClipTextConfig) -> dict[str, Tensor]:
    given = theirs.state_dict()
    prefix = "text_model.encoder.layers"
    weights = {
        "token_embed.weight": given["text_model.embeddings.token_embedding.weight"],
        "position_embed": given["text_model.embeddings.position_embedding.weight"],
        "project.weight": given["text_projection.weight"],
    }
    for p in ("weight", "bias"):
        weights[f"norm.{p}"] = given[f"text_model.final_layer_norm.{p}"]
        for index in range(config.layers):
            layer, ours = f"{prefix}.{index}", f"layers.{index}"
            packed = [given[f"{layer}.self_attn.{name}_proj.{p}"] for name in "qkv"]
            weights[f"{ours}.qkv.{p}"] = torch.cat(packed)
            weights[f"{ours}.out.{p}"] = given[f"{layer}.self_attn.out_proj.{p}"]
            for number in (1, 2):
                weights[f"{ours}.norm{number}.{p}"] = given[f"{layer}.layer_norm{number}.{p}"]
                weights[f"{ours}.mlp.layers.{number - 1}.{p}"] = given[f"{layer}.mlp.fc{number}.{p}"]
    return weights
