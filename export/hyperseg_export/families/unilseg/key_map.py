"""Names of the published UniLSeg checkpoint (unilseg-spec 12) and what becomes of each."""

from hyperseg_export.checkpoint.batch_norm import fold_bias, fold_weight
from hyperseg_export.checkpoint.key_map import AnyRule, Drop, Rule, thirds
from hyperseg_export.families.swin_names import swin_rules
from hyperseg_export.families.unilseg.config import LEVELS, SWIN, UnilsegConfig

VISION_TOWER = "CLIP's image tower: stored, never used"
LOGIT_SCALE = "CLIP's contrastive temperature: stored, never used"
TRAINING_COUNT = "counts training steps; no effect in use"


def rules(config: UnilsegConfig) -> tuple[AnyRule, ...]:
    return (
        *_text(config.text.words),
        *_vision_tower(),
        *swin_rules(SWIN, config.swin.window),
        *_fusion(),
        *_fpn(),
        *_query_decoder(),
    )


def _text(words: int) -> tuple[AnyRule, ...]:
    layer, ours = "backbone.transformer.resblocks.{i}", "text.layers.{i}"
    return (
        Rule("text.token_embed.weight", ("backbone.token_embedding.weight",)),
        # Positions that no sentence reaches are stored too.
        Rule("text.position_embed", ("backbone.positional_embedding",), lambda table: table[:words]),
        Rule(f"{ours}.norm1.{{p}}", (f"{layer}.ln_1.{{p}}",)),
        Rule(f"{ours}.qkv.{{p}}", (f"{layer}.attn.in_proj_{{p}}",)),
        Rule(f"{ours}.out.{{p}}", (f"{layer}.attn.out_proj.{{p}}",)),
        Rule(f"{ours}.norm2.{{p}}", (f"{layer}.ln_2.{{p}}",)),
        Rule(f"{ours}.mlp.layers.0.{{p}}", (f"{layer}.mlp.c_fc.{{p}}",)),
        Rule(f"{ours}.mlp.layers.1.{{p}}", (f"{layer}.mlp.c_proj.{{p}}",)),
        Rule("text.norm.{p}", ("backbone.ln_final.{p}",)),
        # Unlike every other matrix, this one is stored (in, out).
        Rule("text.project.weight", ("backbone.text_projection",), lambda matrix: matrix.t()),
        Drop("backbone.logit_scale", LOGIT_SCALE),
    )


def _vision_tower() -> tuple[AnyRule, ...]:
    layer = "transformer.resblocks.{i}"
    parts = (
        "class_embedding", "positional_embedding", "proj", "conv1.weight", "ln_pre.{p}", "ln_post.{p}",
        f"{layer}.attn.in_proj_{{p}}", f"{layer}.attn.out_proj.{{p}}", f"{layer}.ln_1.{{p}}", f"{layer}.ln_2.{{p}}",
        f"{layer}.mlp.c_fc.{{p}}", f"{layer}.mlp.c_proj.{{p}}",
    )  # fmt: skip
    return tuple(Drop(f"backbone.visual.{part}", VISION_TOWER) for part in parts)


def _fusion() -> tuple[AnyRule, ...]:
    """Levels finest first; the coarsest one has names of its own."""
    names = [(f"all_fusion_module.{level}", f"all_fusion_proj.{level}") for level in range(LEVELS - 1)]
    found: list[AnyRule] = []
    for level, (module, project) in enumerate((*names, ("fusion", "fusion_proj"))):
        found.append(Rule(f"fusion.{level}.project.{{p}}", (f"{project}.{{p}}",)))
        found += _attention(f"fusion.{level}.attention", f"{module}.multihead_attn")
    return tuple(found)


def _fpn() -> tuple[AnyRule, ...]:
    """The release counts its levels from 1, finest first; ours start with the coarsest."""
    found: list[AnyRule] = [*_folded("fpn.mask_features.conv", "pixel_decoder.mask_features")]
    for level in range(LEVELS):
        number, ours = LEVELS - level, f"fpn.levels.{level}"
        block = f"pixel_decoder.cross_attn_{number}"
        found += _folded(f"{ours}.lateral.conv", f"pixel_decoder.adapter_{number}")
        found += _folded(f"{ours}.out.conv", f"pixel_decoder.layer_{number}")
        found += _attention(f"{ours}.block.self_attention", f"{block}.self_attn")
        found += _attention(f"{ours}.block.cross_attention", f"{block}.multihead_attn")
        found += _norms_and_mlp(f"{ours}.block", block)
    return tuple(found)


def _query_decoder() -> tuple[AnyRule, ...]:
    decoder = "query_decoder.query_transformer.decoder"
    layer, ours = f"{decoder}.layers.{{i}}", "query_decoder.layers.{i}"
    own = f"{ours}.self_attention"
    return (
        *_folded("query_decoder.memory.conv", "query_decoder.visual_proj"),
        *_folded("query_decoder.position", "query_decoder.text_proj"),
        # With one query the first two thirds, for queries and keys, decide nothing (unilseg-spec 10).
        Rule(f"{own}.value.{{p}}", (f"{layer}.self_attn.in_proj_{{p}}",), thirds(2)),
        Rule(f"{own}.out.{{p}}", (f"{layer}.self_attn.out_proj.{{p}}",)),
        *_attention(f"{ours}.cross_attention", f"{layer}.multihead_attn"),
        *_norms_and_mlp(ours, layer),
        Rule("query_decoder.norm.{p}", (f"{decoder}.norm.{{p}}",)),
    )


def _attention(ours: str, theirs: str) -> tuple[AnyRule, ...]:
    """A packed multi-head attention, its query, key and value parts apart."""
    return (
        *(
            Rule(f"{ours}.{name}.{{p}}", (f"{theirs}.in_proj_{{p}}",), thirds(index))
            for index, name in enumerate(("query", "key", "value"))
        ),
        Rule(f"{ours}.out.{{p}}", (f"{theirs}.out_proj.{{p}}",)),
    )


def _norms_and_mlp(ours: str, theirs: str) -> tuple[AnyRule, ...]:
    return (
        *(Rule(f"{ours}.norm{number}.{{p}}", (f"{theirs}.norm{number}.{{p}}",)) for number in (1, 2, 3)),
        Rule(f"{ours}.mlp.layers.0.{{p}}", (f"{theirs}.linear1.{{p}}",)),
        Rule(f"{ours}.mlp.layers.1.{{p}}", (f"{theirs}.linear2.{{p}}",)),
    )


def _folded(ours: str, theirs: str) -> tuple[AnyRule, ...]:
    """A layer without bias, `.0`, and the BatchNorm after it, `.1`, as one layer."""
    norm = f"{theirs}.1"
    return (
        Rule(f"{ours}.weight", (f"{theirs}.0.weight", f"{norm}.weight", f"{norm}.running_var"), fold_weight),
        Rule(
            f"{ours}.bias",
            (f"{norm}.weight", f"{norm}.bias", f"{norm}.running_mean", f"{norm}.running_var"),
            fold_bias,
        ),
        Drop(f"{norm}.num_batches_tracked", TRAINING_COUNT),
    )
