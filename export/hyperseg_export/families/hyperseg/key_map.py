"""Names of the published HyperSeg checkpoint and what becomes of each."""

from hyperseg_export.checkpoint.key_map import AnyRule, Rule
from hyperseg_export.families.hyperseg.config import SWIN, HypersegConfig
from hyperseg_export.families.mask_queries.names import (
    NOT_READ,
    host_rules,
    lm_head_rules,
    mask_decoder_rules,
    phi_attention_rules,
    phi_rules,
    pixel_decoder_rules,
    siglip_rules,
)
from hyperseg_export.families.swin_names import swin_rules
from hyperseg_export.model import table_name
from hyperseg_runtime.families.hyperseg.spec import LATENTS


def rules(config: HypersegConfig) -> tuple[AnyRule, ...]:
    return (
        *host_rules(),
        Rule(table_name(LATENTS), ("temporal_query",)),
        *phi_attention_rules(),
        *phi_rules(),
        *lm_head_rules(),
        *siglip_rules(config.projector_layers),
        *swin_rules(SWIN, config.swin.window),
        *_fvp(),
        *(_fvp_gate() if config.fvp.gated else _fvp_mlp()),
        *pixel_decoder_rules(),
        *mask_decoder_rules(),
        *_mask_decoder(),
    )


LAYER = "mgvp_layers.layers.{i}"


def _fvp() -> tuple[AnyRule, ...]:
    return (
        Rule("fvp.local_project.{i}.{p}", ("local_project.{i}.{p}",)),
        Rule("fvp.level_embed", ("level_embed.weight",)),
        Rule("fvp.layers.{i}.norm_media.{p}", (f"{LAYER}.0.norm_media.{{p}}",)),
        Rule("fvp.layers.{i}.norm_latents.{p}", (f"{LAYER}.0.norm_latents.{{p}}",)),
        Rule("fvp.layers.{i}.query.weight", (f"{LAYER}.0.to_q.weight",)),
        Rule("fvp.layers.{i}.key_value.weight", (f"{LAYER}.0.to_kv.weight",)),
        Rule("fvp.layers.{i}.out.weight", (f"{LAYER}.0.to_out.weight",)),
        Rule("fvp.norm.{p}", ("mgvp_layers.norm.{p}",)),
        Rule("fvp.out.{p}", ("expanded_seg_query_project.{p}",)),
    )


def _fvp_mlp() -> tuple[AnyRule, ...]:
    return (
        Rule("fvp.layers.{i}.norm_mlp.{p}", (f"{LAYER}.1.0.{{p}}",)),
        Rule("fvp.layers.{i}.mlp.layers.0.weight", (f"{LAYER}.1.1.weight",)),
        Rule("fvp.layers.{i}.mlp.layers.1.weight", (f"{LAYER}.1.3.weight",)),
    )


def _fvp_gate() -> tuple[AnyRule, ...]:
    """The paper's layers, which no release has: the names are ours."""
    return (
        Rule("fvp.layers.{i}.gate.layers.0.{p}", (f"{LAYER}.gate.0.{{p}}",)),
        Rule("fvp.layers.{i}.gate.layers.1.{p}", (f"{LAYER}.gate.2.{{p}}",)),
    )


def _mask_decoder() -> tuple[AnyRule, ...]:
    """Projections and heads beside the shared ones."""
    other = NOT_READ
    return (
        Rule("condition_projector.{p}", ("SEG_token_projector.{p}",)),
        Rule("memory_projector.{p}", ("temporal_query_project.{p}",)),
        Rule("class_score.project.layers.{i}.{p}", ("predictor.CLASS_proj.layers.{i}.{p}",)),
        Rule("region_score.project.layers.{i}.{p}", ("predictor.REGION_proj.layers.{i}.{p}",)),
        Rule("box_head.layers.{i}.{p}", ("predictor.box_embed.layers.{i}.{p}",), unused=other),
        Rule("iou_head.{p}", ("predictor.iou_head.{p}",), unused=other),
        Rule("reid_head.layers.{i}.{p}", ("predictor.reid_embed_head.layers.{i}.{p}",), unused=other),
        Rule("class_projector.{p}", ("class_name_projector.{p}",)),
        Rule("region_projector.{p}", ("region_projector.{p}",)),
    )
