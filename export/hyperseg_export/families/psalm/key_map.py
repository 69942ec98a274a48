"""Names of the published PSALM checkpoint (psalm-spec 9) and what becomes of each."""

from collections.abc import Callable

from torch import Tensor

from hyperseg_export.checkpoint.batch_norm import fold_bias, fold_scale, fold_weight
from hyperseg_export.checkpoint.key_map import AnyRule, Drop, Rule
from hyperseg_export.families.mask_queries.names import (
    host_rules,
    mask_decoder_rules,
    phi_attention_rules,
    phi_rules,
    pixel_decoder_rules,
)
from hyperseg_export.families.psalm.config import BLOCK, SWIN, PsalmConfig
from hyperseg_export.families.swin_names import swin_rules

NO_ANSWERS = "language head: the release segments only, no mask is made from it"


def rules(config: PsalmConfig) -> tuple[AnyRule, ...]:
    return (
        *host_rules(),
        *(_fused_attention(config.phi.heads) if config.fused_attention else phi_attention_rules()),
        *phi_rules(),
        Drop("lm_head.weight", NO_ANSWERS),
        *swin_rules(SWIN, config.swin.window),
        *_projector(),
        *pixel_decoder_rules(),
        *mask_decoder_rules(),
        *_heads(),
    )


def head_by_head(heads: int) -> Callable[[Tensor], Tensor]:
    """Rows ordered head, then query, key and value, then dim -> all queries, all keys, all values."""

    def sort(packed: Tensor) -> Tensor:
        by_head: Tensor = packed.unflatten(0, (heads, 3, packed.shape[0] // (3 * heads)))
        return by_head.transpose(0, 1).flatten(0, 2)

    return sort


def _fused_attention(heads: int) -> tuple[AnyRule, ...]:
    source = "model.layers.{i}.self_attn.query_key_value.{p}"
    return (Rule("phi.layers.{i}.qkv.{p}", (source,), head_by_head(heads)),)


def _projector() -> tuple[AnyRule, ...]:
    first, second, beside = f"{BLOCK}.bn1", f"{BLOCK}.bn2", f"{BLOCK}.downsample.1"
    return (
        *_folded("projector.conv1", f"{BLOCK}.conv1", first),
        Rule("projector.conv2.weight", (f"{BLOCK}.conv2.weight",)),
        Rule("projector.norm2.scale", (f"{second}.weight", f"{second}.running_var"), fold_scale),
        Rule("projector.norm2.shift", _norm(second), fold_bias),
        *_folded("projector.downsample", f"{BLOCK}.downsample.0", beside),
        Rule("projector.out.{p}", ("model.mm_projector.fc.{p}",)),
    )


def _folded(target: str, layer: str, norm: str) -> tuple[AnyRule, ...]:
    """A convolution without bias and the BatchNorm behind it."""
    weight = (f"{layer}.weight", f"{norm}.weight", f"{norm}.running_var")
    return (Rule(f"{target}.weight", weight, fold_weight), Rule(f"{target}.bias", _norm(norm), fold_bias))


def _norm(norm: str) -> tuple[str, ...]:
    return tuple(f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var"))


def _heads() -> tuple[AnyRule, ...]:
    """Projections and heads beside the shared ones."""
    return (
        Rule("condition_projector.{p}", ("SEG_token_projector.{p}",)),
        Rule("class_projector.{p}", ("class_name_projector.{p}",)),
        Rule("region_projector.{p}", ("region_projector.{p}",)),
        Rule("class_score.project.layers.{i}.{p}", ("predictor.CLASS_proj.layers.{i}.{p}",)),
        Rule("region_score.project.layers.{i}.{p}", ("predictor.REGION_proj.layers.{i}.{p}",)),
    )
