"""The parts of a HyperSeg checkpoint's config.json that decide something, with their types."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hyperseg_runtime.errors import CheckpointError

EXTENSION_KEY = "hyperseg_trt"

Count = Annotated[int, Field(gt=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Section(BaseModel):
    """Keys that decide nothing are ignored: a published config.json has dozens."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class ReleaseConstants(_Section):
    """What neither the tensors nor the published keys tell; defaults are the release's values.

    A config.json may hold others under the key "hyperseg_trt".
    """

    model_config = ConfigDict(extra="forbid")

    image_px: Count = 1024
    perceiver_heads: Count = 8
    mask_heads: Count = 8
    deformable_points: Count = 4
    context: Count | None = None
    """Cache slots; None: the default, or the model's number of positions if that is smaller."""


class VisionTower(_Section):
    num_attention_heads: Count
    image_size: Count
    layer_norm_eps: Positive
    mm_vision_select_layer: int


class Projector(_Section):
    mm_projector_type: Annotated[str, Field(pattern=r"^(linear|mlp[1-9]x_gelu)$")]

    @property
    def layers(self) -> int:
        """Linear layers, with a GELU between two of them."""
        found = re.search(r"\d", self.mm_projector_type)
        return int(found[0]) if found else 1


class VisionConfig(_Section):
    vision_tower: VisionTower
    mm_projector: Projector


class ConfigJson(_Section):
    hidden_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    num_key_value_heads: Count | None = None
    partial_rotary_factor: Annotated[float, Field(gt=0, le=1)]
    rope_theta: Positive
    max_position_embeddings: Count
    layer_norm_eps: Positive
    qk_layernorm: bool = False
    vision_config: VisionConfig
    hyperseg_trt: ReleaseConstants = ReleaseConstants()


def parse_config(content: Mapping[str, Any]) -> ConfigJson:
    """Raises CheckpointError naming the first setting that is missing or impossible."""
    try:
        parsed = ConfigJson.model_validate(dict(content))
    except ValidationError as error:
        raise CheckpointError(_describe(error)) from error
    if parsed.qk_layernorm:
        raise CheckpointError("config.json: qk_layernorm is not supported; no released checkpoint has it")
    return parsed


def _describe(error: ValidationError) -> str:
    first = error.errors()[0]
    path = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"config.json: {path} is missing"
    if first["type"] == "extra_forbidden":
        known = ", ".join(sorted(ReleaseConstants.model_fields))
        return f'config.json: unknown key {first["loc"][-1]!r} under "{EXTENSION_KEY}"; known keys: {known}'
    return f"config.json: {path} is {first['input']!r}: {first['msg']}"
