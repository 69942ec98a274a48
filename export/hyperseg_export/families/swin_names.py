"""Names of the published Swin transformer, which several families hold under a prefix of their own."""

from torch import Tensor

from hyperseg_export.checkpoint.key_map import AnyRule, MustEqual, Rule, Shape
from hyperseg_export.modules.swin import expand_relative_bias, relative_position_index


def swin_rules(prefix: str, window: int) -> tuple[AnyRule, ...]:
    """Rules from names under `prefix` to those of `modules.swin` under "swin"."""
    stage = f"{prefix}.layers.{{i}}"
    block = f"{stage}.blocks.{{j}}"
    ours = "swin.stages.{i}.blocks.{j}"

    def bias(table: Tensor) -> Tensor:
        return expand_relative_bias(table, window)

    def index(shape: Shape) -> Tensor:
        return relative_position_index(window)

    return (
        Rule("swin.patch_embed.{p}", (f"{prefix}.patch_embed.proj.{{p}}",)),
        Rule("swin.patch_norm.{p}", (f"{prefix}.patch_embed.norm.{{p}}",)),
        Rule(f"{ours}.norm1.{{p}}", (f"{block}.norm1.{{p}}",)),
        Rule(f"{ours}.norm2.{{p}}", (f"{block}.norm2.{{p}}",)),
        Rule(f"{ours}.attention.qkv.{{p}}", (f"{block}.attn.qkv.{{p}}",)),
        Rule(f"{ours}.attention.out.{{p}}", (f"{block}.attn.proj.{{p}}",)),
        Rule(f"{ours}.attention.relative_bias", (f"{block}.attn.relative_position_bias_table",), bias),
        MustEqual(f"{block}.attn.relative_position_index", index, "not the index of this window size"),
        Rule(f"{ours}.mlp.layers.0.{{p}}", (f"{block}.mlp.fc1.{{p}}",)),
        Rule(f"{ours}.mlp.layers.1.{{p}}", (f"{block}.mlp.fc2.{{p}}",)),
        Rule("swin.stages.{i}.merge.norm.{p}", (f"{stage}.downsample.norm.{{p}}",)),
        Rule("swin.stages.{i}.merge.reduction.weight", (f"{stage}.downsample.reduction.weight",)),
        Rule("swin.stages.{i}.norm.{p}", (f"{prefix}.norm{{i}}.{{p}}",)),
    )
