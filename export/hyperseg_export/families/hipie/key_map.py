"""Names of the published HIPIE checkpoints (hipie-spec 16) and what becomes of each."""

import math

from torch import Tensor

from hyperseg_export.checkpoint.batch_norm import fold_bias, fold_weight
from hyperseg_export.checkpoint.key_map import AnyRule, Drop, Rule, SameAs, pack, thirds
from hyperseg_export.families.hipie.config import (
    BACKBONE,
    FUSION,
    MAPS,
    MASK_DINO,
    RESNET_STAGES,
    TEXT,
    TRANSFORMER,
    HipieConfig,
)
from hyperseg_export.modules.resnet import ResnetConfig

EARLIER_HEAD = "head of a layer before the last, used in training only"
RESIZER = "resizes the text for training only"
CRITERION = "state of a training loss"


def rules(config: HipieConfig) -> tuple[AnyRule, ...]:
    backbone = _resnet() if isinstance(config.backbone, ResnetConfig) else vit_rules()
    return (*_text(), *backbone, *_detr(config), *_alignment(config), *_mask_dino(), *_training())


def _text() -> tuple[AnyRule, ...]:
    embed, layer, ours = f"{TEXT}.embeddings", f"{TEXT}.encoder.layer.{{i}}", "text.layers.{i}"
    attention = f"{layer}.attention"
    packed = tuple(f"{attention}.self.{name}.{{p}}" for name in ("query", "key", "value"))
    return (
        Rule("text.token_embed.weight", (f"{embed}.word_embeddings.weight",)),
        Rule(
            "text.position_embed",
            (f"{embed}.position_embeddings.weight", f"{embed}.token_type_embeddings.weight"),
            lambda positions, types: positions + types[:1],
        ),
        Rule("text.embed_norm.{p}", (f"{embed}.LayerNorm.{{p}}",)),
        Rule(f"{ours}.qkv.{{p}}", packed, pack),
        Rule(f"{ours}.out.{{p}}", (f"{attention}.output.dense.{{p}}",)),
        Rule(f"{ours}.norm1.{{p}}", (f"{attention}.output.LayerNorm.{{p}}",)),
        Rule(f"{ours}.mlp.layers.0.{{p}}", (f"{layer}.intermediate.dense.{{p}}",)),
        Rule(f"{ours}.mlp.layers.1.{{p}}", (f"{layer}.output.dense.{{p}}",)),
        Rule(f"{ours}.norm2.{{p}}", (f"{layer}.output.LayerNorm.{{p}}",)),
    )


def _resnet() -> tuple[AnyRule, ...]:
    found = [*_folded("backbone.stem.conv", f"{BACKBONE}.stem.conv1")]
    for stage in range(RESNET_STAGES):
        theirs, ours = f"{BACKBONE}.res{stage + 2}.{{i}}", f"backbone.stages.{stage}.{{i}}"
        for conv in ("conv1", "conv2", "conv3", "shortcut"):
            found += _folded(f"{ours}.{conv}", f"{theirs}.{conv}")
    return tuple(found)


def _folded(ours: str, theirs: str) -> tuple[AnyRule, ...]:
    """A convolution without bias and the frozen BatchNorm after it, as one layer."""
    gain, shift, mean, variance = (
        f"{theirs}.norm.{name}" for name in ("weight", "bias", "running_mean", "running_var")
    )
    return (
        Rule(f"{ours}.weight", (f"{theirs}.weight", gain, variance), fold_weight),
        Rule(f"{ours}.bias", (gain, shift, mean, variance), fold_bias),
    )


def vit_rules() -> tuple[AnyRule, ...]:
    block, ours = f"{BACKBONE}.blocks.{{i}}", "backbone.blocks.{i}"
    return (
        Rule("backbone.position_embed", (f"{BACKBONE}.pos_embed",), _as_map),
        Rule("backbone.patches.{p}", (f"{BACKBONE}.patch_embed.proj.{{p}}",)),
        Rule(f"{ours}.norm1.{{p}}", (f"{block}.norm1.{{p}}",)),
        Rule(f"{ours}.attention.qkv.{{p}}", (f"{block}.attn.qkv.{{p}}",)),
        Rule(f"{ours}.attention.out.{{p}}", (f"{block}.attn.proj.{{p}}",)),
        Rule(f"{ours}.attention.rows", (f"{block}.attn.rel_pos_h",)),
        Rule(f"{ours}.attention.columns", (f"{block}.attn.rel_pos_w",)),
        Rule(f"{ours}.norm2.{{p}}", (f"{block}.norm2.{{p}}",)),
        Rule(f"{ours}.mlp.layers.0.{{p}}", (f"{block}.mlp.fc1.{{p}}",)),
        Rule(f"{ours}.mlp.layers.1.{{p}}", (f"{block}.mlp.fc2.{{p}}",)),
        Rule("backbone.finer.{p}", (f"{BACKBONE}.fpn1.0.{{p}}",)),
    )


def _as_map(positions: Tensor) -> Tensor:
    """(1, 1 + g * g, C), the class token's first -> (1, C, g, g)."""
    side = math.isqrt(positions.shape[1] - 1)
    grid: Tensor = positions[:, 1:].transpose(1, 2).unflatten(2, (side, side))
    return grid


def _detr(config: HipieConfig) -> tuple[AnyRule, ...]:
    last = config.detr.decoder_layers - 1
    decoder = f"{TRANSFORMER}.decoder"
    return (
        *_projections("detr.project", "detr.detr.input_proj"),
        Rule("detr.encoder.level_embed.embed", (f"{TRANSFORMER}.level_embed",)),
        *_fusion("detr.encoder.fusion"),
        *_encoder_layers("detr.encoder.layers.{i}", f"{TRANSFORMER}.encoder.layers.{{i}}"),
        Rule("detr.proposal_states.project.{p}", (f"{TRANSFORMER}.enc_output.{{p}}",)),
        Rule("detr.proposal_states.norm.{p}", (f"{TRANSFORMER}.enc_output_norm.{{p}}",)),
        Rule("detr.proposal_score.{p}", (f"detr.detr.class_embed.{last + 1}.body.{{p}}",)),
        Rule("detr.background_contents", (f"{TRANSFORMER}.tgt_embed_bg.weight",)),
        Rule("detr.background_boxes", (f"{TRANSFORMER}.bg_query_refs.weight",)),
        Rule("detr.contents", (f"{TRANSFORMER}.tgt_embed.weight",)),
        *_decoder("detr.decoder", decoder),
        *(
            Rule(f"detr.box_deltas.{layer}.layers.{{i}}.{{p}}", (f"detr.detr.bbox_embed.{layer}.layers.{{i}}.{{p}}",))
            for layer in range(last + 1)
        ),
        Rule("detr.proposal_delta.layers.{i}.{p}", (f"detr.detr.bbox_embed.{last + 1}.layers.{{i}}.{{p}}",)),
        SameAs(f"{decoder}.bbox_embed.{{n}}", "detr.detr.bbox_embed.{n}"),
        SameAs(f"{decoder}.class_embed.{{n}}", "detr.detr.class_embed.{n}"),
        Rule("detr.iou.{p}", (f"detr.detr.iou_head.{last}.{{p}}",)),
        *(Drop(f"detr.detr.iou_head.{layer}.{{p}}", EARLIER_HEAD) for layer in range(last)),
        Rule("detr.mask_parameters.layers.{i}.{p}", ("detr.controller.layers.{i}.{p}",)),
        *(
            Rule(f"detr.mask_map.{ours}.conv.{{p}}", (f"detr.mask_head.{theirs}.{{p}}",))
            for ours, theirs in (
                ("coarse", "lay3"), ("middle", "lay4"), ("fine", "jia_dcn"), ("narrow", "lay1"), ("out", "lay2"),
            )
        ),
    )  # fmt: skip


def _projections(ours: str, theirs: str) -> tuple[AnyRule, ...]:
    found: list[AnyRule] = []
    for level, name in enumerate([*(f"levels.{index}" for index in range(MAPS)), "coarser"]):
        found.append(Rule(f"{ours}.{name}.conv.{{p}}", (f"{theirs}.{level}.0.{{p}}",)))
        found.append(Rule(f"{ours}.{name}.norm.{{p}}", (f"{theirs}.{level}.1.{{p}}",)))
    return tuple(found)


def _fusion(ours: str) -> tuple[AnyRule, ...]:
    linear = {
        "token_query": "v_proj", "token_value": "values_v_proj", "token_out": "out_v_proj",
        "text_key": "l_proj", "text_value": "values_l_proj", "text_out": "out_l_proj",
    }  # fmt: skip
    return (
        Rule(f"{ours}.token_norm.{{p}}", (f"{FUSION}.layer_norm_v.{{p}}",)),
        Rule(f"{ours}.text_norm.{{p}}", (f"{FUSION}.layer_norm_l.{{p}}",)),
        *(Rule(f"{ours}.{name}.{{p}}", (f"{FUSION}.attn.{theirs}.{{p}}",)) for name, theirs in linear.items()),
        Rule(f"{ours}.token_gain", (f"{FUSION}.gamma_v",)),
        Rule(f"{ours}.text_gain", (f"{FUSION}.gamma_l",)),
    )


def _deformable(ours: str, theirs: str) -> tuple[AnyRule, ...]:
    names = {"value": "value_proj", "offsets": "sampling_offsets", "weights": "attention_weights", "out": "output_proj"}
    return tuple(Rule(f"{ours}.{name}.{{p}}", (f"{theirs}.{stored}.{{p}}",)) for name, stored in names.items())


def _mlp(ours: str, theirs: str) -> tuple[AnyRule, ...]:
    return (
        Rule(f"{ours}.mlp.layers.0.{{p}}", (f"{theirs}.linear1.{{p}}",)),
        Rule(f"{ours}.mlp.layers.1.{{p}}", (f"{theirs}.linear2.{{p}}",)),
    )


def _encoder_layers(ours: str, theirs: str) -> tuple[AnyRule, ...]:
    return (
        *_deformable(f"{ours}.attention", f"{theirs}.self_attn"),
        *(Rule(f"{ours}.norm{number}.{{p}}", (f"{theirs}.norm{number}.{{p}}",)) for number in (1, 2)),
        *_mlp(ours, theirs),
    )


def _decoder(ours: str, theirs: str) -> tuple[AnyRule, ...]:
    layer, stored = f"{ours}.layers.{{i}}", f"{theirs}.layers.{{i}}"
    own = f"{layer}.self_attention"
    return (
        Rule(f"{ours}.position.layers.{{i}}.{{p}}", (f"{theirs}.ref_point_head.layers.{{i}}.{{p}}",)),
        *(
            Rule(f"{own}.{name}.{{p}}", (f"{stored}.self_attn.in_proj_{{p}}",), thirds(index))
            for index, name in enumerate(("query", "key", "value"))
        ),
        Rule(f"{own}.out.{{p}}", (f"{stored}.self_attn.out_proj.{{p}}",)),
        *_deformable(f"{layer}.cross_attention", f"{stored}.cross_attn"),
        # The release's second norm comes first (hipie-spec 10).
        *(
            Rule(f"{layer}.norm{number}.{{p}}", (f"{stored}.norm{name}.{{p}}",))
            for number, name in ((1, 2), (2, 1), (3, 3))
        ),
        *_mlp(layer, stored),
    )


def _alignment(config: HipieConfig) -> tuple[AnyRule, ...]:
    heads = (
        ("alignment", "detr.detr.class_embed", config.detr.decoder_layers - 1),
        ("vector_alignment", "detr.mask_dino_cls_embed", config.alignments - 1),
    )
    found: list[AnyRule] = []
    for ours, theirs, last in heads:
        found.append(Rule(f"{ours}.project.{{p}}", (f"{theirs}.{last}.dot_product_projection_text.{{p}}",)))
        found += (
            Rule(f"{ours}.{name}", (f"{theirs}.{last}.{stored}",))
            for name, stored in (("text_bias", "bias_lang"), ("bias", "bias0"), ("log_scale", "log_scale"))
        )
        found += (Drop(f"{theirs}.{layer}.{{n}}", EARLIER_HEAD) for layer in range(last))
    return tuple(found)


def _mask_dino() -> tuple[AnyRule, ...]:
    pixels, predictor = f"{MASK_DINO}.pixel_decoder", f"{MASK_DINO}.predictor"
    decoder, encoder = "mask_dino.pixel_decoder", f"{pixels}.transformer"
    parts = (("enlarge", 0), ("norm", 1), ("out", 3))
    shared = f"{predictor}._bbox_embed.layers.{{j}}.{{p}}"
    return (
        *_projections(f"{decoder}.project", f"{pixels}.input_proj"),
        Rule(f"{decoder}.level_embed.embed", (f"{encoder}.level_embed",)),
        *_encoder_layers(f"{decoder}.layers.{{i}}", f"{encoder}.encoder.layers.{{i}}"),
        *(
            rule
            for ours, theirs in (("fine_project", "adapter_1"), ("fine_conv", "layer_1"))
            for rule in (
                Rule(f"{decoder}.{ours}.conv.weight", (f"{pixels}.{theirs}.weight",)),
                Rule(f"{decoder}.{ours}.norm.{{p}}", (f"{pixels}.{theirs}.norm.{{p}}",)),
            )
        ),
        *(Rule(f"{decoder}.mask_features.{n}.{{p}}", (f"{pixels}.mask_features.{i}.{{p}}",)) for n, i in parts),
        Rule("mask_dino.proposal_states.project.{p}", (f"{predictor}.enc_output.{{p}}",)),
        Rule("mask_dino.proposal_states.norm.{p}", (f"{predictor}.enc_output_norm.{{p}}",)),
        Rule("mask_dino.vector.{p}", (f"{predictor}.class_embed.{{p}}",)),
        Rule("mask_dino.box_delta.layers.{j}.{p}", (shared,)),
        *(
            SameAs(f"{predictor}.{part}.{{i}}.layers.{{j}}.{{p}}", shared)
            for part in ("bbox_embed", "decoder.bbox_embed")
        ),
        *_decoder("mask_dino.decoder", f"{predictor}.decoder"),
        Rule("mask_dino.norm.{p}", (f"{predictor}.decoder_norm.{{p}}",)),
        SameAs(f"{predictor}.decoder.norm.{{p}}", f"{predictor}.decoder_norm.{{p}}"),
        Rule("mask_dino.mask_vector.layers.{i}.{p}", (f"{predictor}.mask_embed.layers.{{i}}.{{p}}",)),
    )


def _training() -> tuple[AnyRule, ...]:
    places = ("detr", TRANSFORMER, f"{MASK_DINO}.predictor")
    return (
        *(Drop(f"{place}.resizer.{{n}}", RESIZER) for place in places),
        Drop("criterion.{n}", CRITERION),
        Drop("detr.mask_dino_criterion.{n}", CRITERION),
    )
