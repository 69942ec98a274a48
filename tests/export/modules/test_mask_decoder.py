"""The mask decoder against Mask2Former's in transformers, and the algebra that saves its work."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import interpolate
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import Mask2FormerMaskedAttentionDecoder

from hyperseg_export.modules.mask_decoder import (
    AttentionMask,
    ConditionScore,
    MaskDecoder,
    MaskDecoderConfig,
    mask_feature_pyramid,
)
from hyperseg_export.modules.positions import sine_positions
from hyperseg_export.parity.compare import worst_error

DOUBLE = 1e-10
"""Float64 on both sides: only the order of sums differs."""

CONFIG = MaskDecoderConfig(width=24, heads=4, layers=5, levels=3, mlp_width=20, queries=7)
SHAPES = {
    "powers of two": ((2, 2), (4, 4), (8, 8), (16, 16)),
    "odd and not square": ((2, 3), (3, 5), (5, 9), (9, 17)),
}


@pytest.mark.parametrize("case", SHAPES)
def test_states_and_masks_are_mask2formers(
    case: str, randomise: Callable[..., nn.Module], load: Callable[..., nn.Module]
) -> None:
    *shapes, finest = SHAPES[case]
    theirs = randomise(their_decoder(CONFIG))
    tables = {name: torch.randn(n, CONFIG.width) for name, n in (("query_embed", 7), ("level_embed", 3))}
    ours = load(MaskDecoder(CONFIG, shapes), {**our_weights(theirs, CONFIG), **tables})
    queries = torch.randn(2, CONFIG.queries, CONFIG.width, dtype=torch.float64)
    encoded = [torch.randn(2, CONFIG.width, *shape, dtype=torch.float64) for shape in shapes]
    mask_features = torch.randn(2, CONFIG.width, *finest, dtype=torch.float64)
    seen = watch(ours.attention_mask)

    states, normed = ours(queries, encoded, mask_feature_pyramid(mask_features, shapes))

    expected = theirs(
        inputs_embeds=queries.transpose(0, 1),
        multi_stage_positional_embeddings=[sine_positions(*shape, CONFIG.width)[:, None].double() for shape in shapes],
        pixel_embeddings=mask_features,
        encoder_hidden_states=[
            x.flatten(2).permute(2, 0, 1) + embed for x, embed in zip(encoded, tables["level_embed"], strict=True)
        ],
        query_position_embeddings=tables["query_embed"].double()[:, None].expand(-1, 2, -1),
        feature_size_list=list(shapes),
        output_hidden_states=False,
        output_attentions=False,
        return_dict=True,
    )
    assert worst_error(states.numpy(), expected.last_hidden_state.numpy()) < DOUBLE
    assert worst_error(normed.transpose(0, 1).numpy(), expected.intermediate_hidden_states[-1].numpy()) < DOUBLE
    masks = ours.mask_logits(normed, mask_features)
    assert worst_error(masks.numpy(), expected.masks_queries_logits[-1].numpy()) < DOUBLE
    partly_open = [mask.any(-1) & ~mask.all(-1) for mask in seen]
    assert all(rows.any() for rows in partly_open), "masks that close nothing prove nothing"


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.floats(-2, 2), min_size=4, max_size=4), min_size=1, max_size=5))
def test_a_place_is_open_where_the_mask_is_or_where_it_is_nowhere(logits: list[list[float]]) -> None:
    """Spec 6.7: blocked = sigmoid < 0.5; rows that are entirely blocked are opened completely."""
    found = AttentionMask()(torch.tensor([logits], dtype=torch.float64))
    assert found.shape == (1, 1, len(logits), 4)
    assert found.dtype == torch.bool
    for row, values in zip(found[0, 0].tolist(), logits, strict=True):
        is_open = [value >= 0 for value in values]
        assert row == (is_open if any(is_open) else [True] * 4)


def test_a_closed_row_attends_everywhere_and_gives_no_nan() -> None:
    closed = AttentionMask()(torch.full((2, 3, 5), -1.0))
    assert closed.all()


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 13), st.integers(1, 13))
def test_sampled_features_give_the_sampled_logits(height: int, width: int, fine_height: int, fine_width: int) -> None:
    """Interpolation and the product with a query are both linear, so their order is free."""
    features = torch.randn(2, 5, fine_height, fine_width, dtype=torch.float64)
    embeds = torch.randn(2, 3, 5, dtype=torch.float64)
    (level,) = mask_feature_pyramid(features, [(height, width)])
    logits = torch.einsum("bqc,bchw->bqhw", embeds, features)
    expected = interpolate(logits, (height, width), mode="bilinear", align_corners=False)
    assert level.shape == (2, 5, height, width)
    assert worst_error(torch.einsum("bqc,bchw->bqhw", embeds, level).numpy(), expected.numpy()) < DOUBLE


def test_scores_are_dot_products_of_projected_states(randomise: Callable[..., nn.Module]) -> None:
    score = randomise(ConditionScore(6))
    normed, conditions = (torch.randn(2, n, 6, dtype=torch.float64) for n in (4, 3))
    logits = score(normed, conditions)
    assert logits.shape == (2, 4, 3)
    for image in range(2):
        for query in range(4):
            projected = score.project(normed[image, query])
            expected = [(projected * condition).sum() for condition in conditions[image]]
            assert torch.allclose(logits[image, query], torch.stack(expected), rtol=0, atol=DOUBLE)
    assert [layer.weight.shape for layer in score.project.layers] == [(6, 6), (6, 6)]


def watch(module: nn.Module) -> list[Tensor]:
    """Everything `module` gives from now on."""
    made: list[Tensor] = []
    module.register_forward_hook(lambda part, given, output: made.append(output))
    return made


def their_decoder(config: MaskDecoderConfig) -> Mask2FormerMaskedAttentionDecoder:
    settings = Mask2FormerConfig(
        hidden_dim=config.width,
        mask_feature_size=config.width,
        dim_feedforward=config.mlp_width,
        decoder_layers=config.layers + 1,
        num_attention_heads=config.heads,
        activation_function="relu",
        dropout=0.0,
        pre_norm=False,
    )
    return Mask2FormerMaskedAttentionDecoder(settings)


def our_weights(theirs: nn.Module, config: MaskDecoderConfig) -> dict[str, Tensor]:
    stored = theirs.state_dict()
    weights = {}
    for p in ("weight", "bias"):
        weights[f"norm.{p}"] = stored[f"layernorm.{p}"]
        for index in range(3):
            weights[f"mask_embed.layers.{index}.{p}"] = stored[f"mask_predictor.mask_embedder.{index}.0.{p}"]
        for index in range(config.layers):
            layer = f"layers.{index}"
            packed = stored[f"{layer}.cross_attn.in_proj_{p}"].chunk(3)
            for name, part in zip(("query", "key", "value"), packed, strict=True):
                weights[f"{layer}.cross_attention.{name}.{p}"] = part
            query_key = [stored[f"{layer}.self_attn.{letter}_proj.{p}"] for letter in "qk"]
            weights[f"{layer}.self_attention.query_key.{p}"] = torch.cat(query_key)
            weights[f"{layer}.self_attention.value.{p}"] = stored[f"{layer}.self_attn.v_proj.{p}"]
            weights[f"{layer}.cross_attention.out.{p}"] = stored[f"{layer}.cross_attn.out_proj.{p}"]
            weights[f"{layer}.self_attention.out.{p}"] = stored[f"{layer}.self_attn.out_proj.{p}"]
            weights[f"{layer}.norm1.{p}"] = stored[f"{layer}.cross_attn_layer_norm.{p}"]
            weights[f"{layer}.norm2.{p}"] = stored[f"{layer}.self_attn_layer_norm.{p}"]
            weights[f"{layer}.norm3.{p}"] = stored[f"{layer}.final_layer_norm.{p}"]
            weights[f"{layer}.mlp.layers.0.{p}"] = stored[f"{layer}.fc1.{p}"]
            weights[f"{layer}.mlp.layers.1.{p}"] = stored[f"{layer}.fc2.{p}"]
    return weights
