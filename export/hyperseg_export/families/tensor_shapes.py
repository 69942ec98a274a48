"""Reading dimensions from the shapes of a checkpoint's tensors."""

import math
import re
from collections.abc import Mapping

from hyperseg_export.modules.swin import SwinConfig
from hyperseg_runtime.errors import CheckpointError

Shapes = Mapping[str, tuple[int, ...]]

SWIN_STAGES = 4


class TensorShapes:
    """Looks shapes up and says what is missing or contradictory, as CheckpointError."""

    def __init__(self, shapes: Shapes) -> None:
        self.shapes = shapes

    def shape(self, name: str, rank: int) -> tuple[int, ...]:
        if name not in self.shapes:
            raise CheckpointError(f"checkpoint: tensor {name} is missing; its shape gives a dimension")
        shape = self.shapes[name]
        if len(shape) != rank or 0 in shape:
            raise CheckpointError(f"checkpoint: {name} has shape {shape}, expected {rank} axes")
        return shape

    def count(self, pattern: str) -> int:
        """Number of consecutive indices from 0 where `pattern` has {i}."""
        regex = re.compile(re.escape(pattern).replace(r"\{i\}", r"(\d+)") + r"\.")
        indices = {int(match[1]) for name in self.shapes if (match := regex.match(name))}
        if indices != set(range(len(indices))) or not indices:
            raise CheckpointError(f"checkpoint: expected {pattern} for i = 0, 1, ...; found {sorted(indices)}")
        return len(indices)

    def swin(self, prefix: str) -> SwinConfig:
        """The Swin transformer whose tensors start with `prefix`: everything is in their shapes."""
        width, _, patch, _ = self.shape(f"{prefix}.patch_embed.proj.weight", 4)
        depths, heads, tables = [], [], set()
        for stage in range(self.count(f"{prefix}.layers.{{i}}")):
            depths.append(self.count(f"{prefix}.layers.{stage}.blocks.{{i}}"))
            bias = f"{prefix}.layers.{stage}.blocks.0.attn.relative_position_bias_table"
            rows, stage_heads = self.shape(bias, 2)
            heads.append(stage_heads)
            tables.add(rows)
        side = math.isqrt(max(tables))
        if tables != {side**2} or side % 2 == 0 or len(depths) != SWIN_STAGES:
            raise CheckpointError(
                f"checkpoint: {prefix} should have {SWIN_STAGES} stages whose relative_position_bias_table has "
                f"(2 * window - 1)^2 rows; found {len(depths)} stages with {sorted(tables)} rows"
            )
        check_heads(prefix, width, heads[0])
        return SwinConfig(
            width=width,
            depths=tuple(depths),
            heads=tuple(heads),
            window=(side + 1) // 2,
            patch_px=patch,
            mlp_ratio=self.shape(f"{prefix}.layers.0.blocks.0.mlp.fc1.weight", 2)[0] // width,
        )


def check_heads(part: str, width: int, heads: int) -> None:
    if width % heads:
        raise CheckpointError(f"checkpoint: {part} is {width} wide, which {heads} heads cannot share")
