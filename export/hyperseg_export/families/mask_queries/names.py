"""Names that published checkpoints share, and what becomes of each tensor."""

from hyperseg_export.checkpoint.key_map import AnyRule, Drop, Rule, pack, thirds
from hyperseg_export.model import table_name
from hyperseg_runtime.families.mask_queries.dimensions import MASK_QUERIES, TOKENS

NOT_READ = "head that no result of the release is made from"
AFTER_SELECTED_LAYER = "SigLIP after the selected layer: its output is never used"


def host_rules() -> tuple[AnyRule, ...]:
    """Tables that stay outside the graphs: the host assembles prompts from their rows."""
    return (
        Rule(table_name(TOKENS), ("model.embed_tokens.weight",)),
        Rule(table_name(MASK_QUERIES), ("seg_query",)),
    )


def phi_attention_rules() -> tuple[AnyRule, ...]:
    """Where query, key and value have projections of their own."""
    attention = "model.layers.{i}.self_attn"
    return (
        Rule(
            "phi.layers.{i}.qkv.{p}",
            (f"{attention}.q_proj.{{p}}", f"{attention}.k_proj.{{p}}", f"{attention}.v_proj.{{p}}"),
            pack,
        ),
    )


def phi_rules() -> tuple[AnyRule, ...]:
    """The language model but for what makes query, key and value."""
    return (
        Rule("phi.layers.{i}.out.{p}", ("model.layers.{i}.self_attn.dense.{p}",)),
        Rule("phi.layers.{i}.mlp.layers.0.{p}", ("model.layers.{i}.mlp.fc1.{p}",)),
        Rule("phi.layers.{i}.mlp.layers.1.{p}", ("model.layers.{i}.mlp.fc2.{p}",)),
        Rule("phi.layers.{i}.norm.{p}", ("model.layers.{i}.input_layernorm.{p}",)),
        Rule("phi.norm.{p}", ("model.final_layernorm.{p}",)),
    )


def lm_head_rules() -> tuple[AnyRule, ...]:
    return (Rule("lm_head.weight", ("lm_head.weight",)),)


def siglip_rules(projector_layers: int) -> tuple[AnyRule, ...]:
    tower = "model.vision_tower.vision_model"
    layer = f"{tower}.encoder.layers.{{i}}"
    attention = f"{layer}.self_attn"
    later = AFTER_SELECTED_LAYER
    return (
        Rule("siglip.patch_embed.{p}", (f"{tower}.embeddings.patch_embedding.{{p}}",)),
        Rule("siglip.position_embed", (f"{tower}.embeddings.position_embedding.weight",)),
        Rule(
            "siglip.layers.{i}.qkv.{p}",
            (f"{attention}.q_proj.{{p}}", f"{attention}.k_proj.{{p}}", f"{attention}.v_proj.{{p}}"),
            pack,
            unused=later,
        ),
        Rule("siglip.layers.{i}.out.{p}", (f"{attention}.out_proj.{{p}}",), unused=later),
        Rule("siglip.layers.{i}.norm1.{p}", (f"{layer}.layer_norm1.{{p}}",), unused=later),
        Rule("siglip.layers.{i}.norm2.{p}", (f"{layer}.layer_norm2.{{p}}",), unused=later),
        Rule("siglip.layers.{i}.mlp.layers.0.{p}", (f"{layer}.mlp.fc1.{{p}}",), unused=later),
        Rule("siglip.layers.{i}.mlp.layers.1.{p}", (f"{layer}.mlp.fc2.{{p}}",), unused=later),
        Drop(f"{tower}.post_layernorm.{{p}}", later),
        Drop(f"{tower}.head.probe", later),
        Drop(f"{tower}.head.attention.in_proj_{{p}}", later),
        Drop(f"{tower}.head.attention.out_proj.{{p}}", later),
        Drop(f"{tower}.head.layernorm.{{p}}", later),
        Drop(f"{tower}.head.mlp.fc1.{{p}}", later),
        Drop(f"{tower}.head.mlp.fc2.{{p}}", later),
        *_projector(projector_layers),
    )


def _projector(layers: int) -> tuple[AnyRule, ...]:
    """A sequence of layers with activations at the odd places, or one bare layer."""
    bare = Rule("projector.layers.0.{p}", ("model.mm_projector.{p}",))
    if layers == 1:
        return (bare,)
    return tuple(
        Rule(f"projector.layers.{index}.{{p}}", (f"model.mm_projector.{2 * index}.{{p}}",)) for index in range(layers)
    )


def pixel_decoder_rules() -> tuple[AnyRule, ...]:
    layer = "pixel_decoder.transformer.encoder.layers.{i}"
    ours = "pixel_decoder.layers.{i}"
    return (
        Rule("pixel_decoder.input_proj.{i}.conv.{p}", ("pixel_decoder.input_proj.{i}.0.{p}",)),
        Rule("pixel_decoder.input_proj.{i}.norm.{p}", ("pixel_decoder.input_proj.{i}.1.{p}",)),
        Rule("pixel_decoder.level_embed", ("pixel_decoder.transformer.level_embed",)),
        Rule(f"{ours}.attention.offsets.{{p}}", (f"{layer}.self_attn.sampling_offsets.{{p}}",)),
        Rule(f"{ours}.attention.weights.{{p}}", (f"{layer}.self_attn.attention_weights.{{p}}",)),
        Rule(f"{ours}.attention.value.{{p}}", (f"{layer}.self_attn.value_proj.{{p}}",)),
        Rule(f"{ours}.attention.out.{{p}}", (f"{layer}.self_attn.output_proj.{{p}}",)),
        Rule(f"{ours}.norm1.{{p}}", (f"{layer}.norm1.{{p}}",)),
        Rule(f"{ours}.mlp.layers.0.{{p}}", (f"{layer}.linear1.{{p}}",)),
        Rule(f"{ours}.mlp.layers.1.{{p}}", (f"{layer}.linear2.{{p}}",)),
        Rule(f"{ours}.norm2.{{p}}", (f"{layer}.norm2.{{p}}",)),
        Rule("pixel_decoder.fine_proj.conv.{p}", ("pixel_decoder.adapter_1.0.{p}",)),
        Rule("pixel_decoder.fine_proj.norm.{p}", ("pixel_decoder.adapter_1.1.{p}",)),
        Rule("pixel_decoder.fine_conv.conv.{p}", ("pixel_decoder.layer_1.0.{p}",)),
        Rule("pixel_decoder.fine_conv.norm.{p}", ("pixel_decoder.layer_1.1.{p}",)),
        Rule("pixel_decoder.mask_features.{p}", ("pixel_decoder.mask_features.{p}",)),
    )


def mask_decoder_rules() -> tuple[AnyRule, ...]:
    cross = "predictor.transformer_cross_attention_layers.{i}"
    own = "predictor.transformer_self_attention_layers.{i}"
    mlp = "predictor.transformer_ffn_layers.{i}"
    ours = "mask_decoder.layers.{i}"
    """The decoder's layers and masks; heads and projections are the family's."""
    return (
        *(
            Rule(
                f"{ours}.cross_attention.{name}.{{p}}",
                (f"{cross}.multihead_attn.in_proj_{{p}}",),
                thirds(index),
            )
            for index, name in enumerate(("query", "key", "value"))
        ),
        Rule(f"{ours}.cross_attention.out.{{p}}", (f"{cross}.multihead_attn.out_proj.{{p}}",)),
        Rule(f"{ours}.norm1.{{p}}", (f"{cross}.norm.{{p}}",)),
        Rule(f"{ours}.self_attention.query_key.{{p}}", (f"{own}.self_attn.in_proj_{{p}}",), thirds(0, 1)),
        Rule(f"{ours}.self_attention.value.{{p}}", (f"{own}.self_attn.in_proj_{{p}}",), thirds(2)),
        Rule(f"{ours}.self_attention.out.{{p}}", (f"{own}.self_attn.out_proj.{{p}}",)),
        Rule(f"{ours}.norm2.{{p}}", (f"{own}.norm.{{p}}",)),
        Rule(f"{ours}.mlp.layers.0.{{p}}", (f"{mlp}.linear1.{{p}}",)),
        Rule(f"{ours}.mlp.layers.1.{{p}}", (f"{mlp}.linear2.{{p}}",)),
        Rule(f"{ours}.norm3.{{p}}", (f"{mlp}.norm.{{p}}",)),
        Rule("mask_decoder.norm.{p}", ("predictor.decoder_norm.{p}",)),
        Rule("mask_decoder.query_embed", ("predictor.query_embed.weight",)),
        Rule("mask_decoder.level_embed", ("predictor.level_embed.weight",)),
        Rule("mask_decoder.mask_embed.layers.{i}.{p}", ("predictor.mask_embed.layers.{i}.{p}",)),
        Rule("query_projector.{p}", ("seg_query_projector.{p}",)),
        Rule("condition_score.project.layers.{i}.{p}", ("predictor.SEG_proj.layers.{i}.{p}",)),
        Drop("predictor.query_feat.weight", "replaced by the projected mask-query states"),
        Drop("predictor.SEG_query_embed.weight", "never read by the released code"),
    )
