"""Names of the published InstructSeg checkpoint and what becomes of each."""

from hyperseg_export.checkpoint.key_map import AnyRule, Drop, Rule
from hyperseg_export.families.instructseg.config import SWIN, InstructsegConfig
from hyperseg_export.families.mask_queries.names import (
    host_rules,
    lm_head_rules,
    mask_decoder_rules,
    phi_attention_rules,
    phi_rules,
    pixel_decoder_rules,
    siglip_rules,
)
from hyperseg_export.families.swin_names import swin_rules

LEFT_OVER = "head of the model that this one was trained on from; its class has none, and the release loads without it"
LEFT_OVER_HEADS = (
    "box_embed.layers.{i}",
    "reid_embed_head.layers.{i}",
    "CLASS_proj.layers.{i}",
    "REGION_proj.layers.{i}",
    "iou_head",
)
"""22 tensors that the sizes of the published files say are there (instructseg-spec 6)."""


def rules(config: InstructsegConfig) -> tuple[AnyRule, ...]:
    return (
        *host_rules(),
        *phi_attention_rules(),
        *phi_rules(),
        *lm_head_rules(),
        *siglip_rules(config.projector_layers),
        *swin_rules(SWIN, config.swin.window),
        Rule("ovp.latents", ("temporal_query",)),
        *_latent_layers("ovp", "ovp_layers"),
        *_latent_layers("vmtf", "vmtf_layers"),
        Rule("vmtf.local_project.{p}", ("local_project.{p}",)),
        Rule("vmtf.project.{p}", ("text_vmtf_projector.{p}",)),
        Rule("vmtf.origin.{p}", ("origin_SEG_token_projector.{p}",)),
        Rule("vmtf.out.{p}", ("SEG_token_projector.{p}",)),
        *pixel_decoder_rules(),
        *mask_decoder_rules(),
        *(Drop(f"predictor.{head}.{{p}}", LEFT_OVER) for head in LEFT_OVER_HEADS),
    )


def _latent_layers(ours: str, theirs: str) -> tuple[AnyRule, ...]:
    layer, own = f"{theirs}.layers.{{i}}", f"{ours}.layers.{{i}}"
    return (
        Rule(f"{own}.norm_media.{{p}}", (f"{layer}.0.norm_media.{{p}}",)),
        Rule(f"{own}.norm_latents.{{p}}", (f"{layer}.0.norm_latents.{{p}}",)),
        Rule(f"{own}.query.weight", (f"{layer}.0.to_q.weight",)),
        Rule(f"{own}.key_value.weight", (f"{layer}.0.to_kv.weight",)),
        Rule(f"{own}.out.weight", (f"{layer}.0.to_out.weight",)),
        Rule(f"{own}.norm_mlp.{{p}}", (f"{layer}.1.0.{{p}}",)),
        Rule(f"{own}.mlp.layers.0.weight", (f"{layer}.1.1.weight",)),
        Rule(f"{own}.mlp.layers.1.weight", (f"{layer}.1.3.weight",)),
        Rule(f"{ours}.norm.{{p}}", (f"{theirs}.norm.{{p}}",)),
    )
