"""Names of the published HyperSeg checkpoint and what becomes of each."""

from hyperseg_export.checkpoint.key_map import AnyRule, Drop, Rule, pack, thirds
from hyperseg_export.families.hyperseg.config import HypersegConfig
from hyperseg_export.families.swin_names import swin_rules
from hyperseg_export.model import table_name
from hyperseg_runtime.families.hyperseg.spec import LATENTS, MASK_QUERIES, TOKENS

NOT_READ = "head that no result of the release is made from"
AFTER_SELECTED_LAYER = "SigLIP after the selected layer: its output is never used"


def rules(config: HypersegConfig) -> tuple[AnyRule, ...]:
    return (
        *_host(),
        *_phi(),
        *_siglip(config),
        *swin_rules("model.vision_tower_mask", config.swin.window),
        *_fvp(),
        *_pixel_decoder(),
        *_mask_decoder(),
    )


def _host() -> tuple[AnyRule, ...]:
    """Tables that stay outside the graphs: the host assembles prompts from their rows."""
    return (
        Rule(table_name(TOKENS), ("model.embed_tokens.weight",)),
        Rule(table_name(MASK_QUERIES), ("seg_query",)),
        Rule(table_name(LATENTS), ("temporal_query",)),
    )


def _phi() -> tuple[AnyRule, ...]:
    attention = "model.layers.{i}.self_attn"
    return (
        Rule(
            "phi.layers.{i}.qkv.{p}",
            (f"{attention}.q_proj.{{p}}", f"{attention}.k_proj.{{p}}", f"{attention}.v_proj.{{p}}"),
            pack,
        ),
        Rule("phi.layers.{i}.out.{p}", (f"{attention}.dense.{{p}}",)),
        Rule("phi.layers.{i}.mlp.layers.0.{p}", ("model.layers.{i}.mlp.fc1.{p}",)),
        Rule("phi.layers.{i}.mlp.layers.1.{p}", ("model.layers.{i}.mlp.fc2.{p}",)),
        Rule("phi.layers.{i}.norm.{p}", ("model.layers.{i}.input_layernorm.{p}",)),
        Rule("phi.norm.{p}", ("model.final_layernorm.{p}",)),
        Rule("lm_head.weight", ("lm_head.weight",)),
    )


def _siglip(config: HypersegConfig) -> tuple[AnyRule, ...]:
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
        *_projector(config),
    )


def _projector(config: HypersegConfig) -> tuple[AnyRule, ...]:
    """A sequence of layers with activations at the odd places, or one bare layer."""
    bare = Rule("projector.layers.0.{p}", ("model.mm_projector.{p}",))
    if config.projector_layers == 1:
        return (bare,)
    return tuple(
        Rule(f"projector.layers.{index}.{{p}}", (f"model.mm_projector.{2 * index}.{{p}}",))
        for index in range(config.projector_layers)
    )


def _fvp() -> tuple[AnyRule, ...]:
    layer = "mgvp_layers.layers.{i}"
    return (
        Rule("fvp.local_project.{i}.{p}", ("local_project.{i}.{p}",)),
        Rule("fvp.level_embed", ("level_embed.weight",)),
        Rule("fvp.layers.{i}.norm_media.{p}", (f"{layer}.0.norm_media.{{p}}",)),
        Rule("fvp.layers.{i}.norm_latents.{p}", (f"{layer}.0.norm_latents.{{p}}",)),
        Rule("fvp.layers.{i}.query.weight", (f"{layer}.0.to_q.weight",)),
        Rule("fvp.layers.{i}.key_value.weight", (f"{layer}.0.to_kv.weight",)),
        Rule("fvp.layers.{i}.out.weight", (f"{layer}.0.to_out.weight",)),
        Rule("fvp.layers.{i}.norm_mlp.{p}", (f"{layer}.1.0.{{p}}",)),
        Rule("fvp.layers.{i}.mlp.layers.0.weight", (f"{layer}.1.1.weight",)),
        Rule("fvp.layers.{i}.mlp.layers.1.weight", (f"{layer}.1.3.weight",)),
        Rule("fvp.norm.{p}", ("mgvp_layers.norm.{p}",)),
        Rule("fvp.out.{p}", ("expanded_seg_query_project.{p}",)),
    )


def _pixel_decoder() -> tuple[AnyRule, ...]:
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


def _mask_decoder() -> tuple[AnyRule, ...]:
    cross = "predictor.transformer_cross_attention_layers.{i}"
    own = "predictor.transformer_self_attention_layers.{i}"
    mlp = "predictor.transformer_ffn_layers.{i}"
    ours = "mask_decoder.layers.{i}"
    other = NOT_READ
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
        Rule("condition_projector.{p}", ("SEG_token_projector.{p}",)),
        Rule("memory_projector.{p}", ("temporal_query_project.{p}",)),
        Rule("condition_score.project.layers.{i}.{p}", ("predictor.SEG_proj.layers.{i}.{p}",)),
        Rule("class_score.project.layers.{i}.{p}", ("predictor.CLASS_proj.layers.{i}.{p}",)),
        Rule("region_score.project.layers.{i}.{p}", ("predictor.REGION_proj.layers.{i}.{p}",)),
        Rule("box_head.layers.{i}.{p}", ("predictor.box_embed.layers.{i}.{p}",), unused=other),
        Rule("iou_head.{p}", ("predictor.iou_head.{p}",), unused=other),
        Rule("reid_head.layers.{i}.{p}", ("predictor.reid_embed_head.layers.{i}.{p}",), unused=other),
        Rule("class_projector.{p}", ("class_name_projector.{p}",)),
        Rule("region_projector.{p}", ("region_projector.{p}",)),
        Drop("predictor.query_feat.weight", "replaced by the projected mask-query states"),
        Drop("predictor.SEG_query_embed.weight", "never read by the released code"),
    )
