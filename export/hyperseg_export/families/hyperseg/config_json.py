"""The parts of a HyperSeg checkpoint's config.json that decide something, with their types."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hyperseg_runtime.errors import CheckpointError

EXTENSION_KEY = "hyperseg_trt"

Count = Annotated[int, Field(gt=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


TanhGelu = Literal["gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_accurate"]
"""transformers' names of the one function that the modules have."""
ROPE_PLACES = ("rope_parameters", "rope_scaling")
"""Where newer writers put what stood at the top, as far as they change nothing."""
ROPE_KEYS = ("rope_theta", "partial_rotary_factor")


class _Section(BaseModel):
    """Keys that decide nothing are ignored: a published config.json has dozens.

    Those that would change the result and are not done here may only have the value that the modules have.
    """

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
    hidden_act: TanhGelu = "gelu_pytorch_tanh"
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
    hidden_act: TanhGelu = "gelu_new"
    tie_word_embeddings: Literal[False] = False
    quantization_config: None = None
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
        parsed = ConfigJson.model_validate(_in_older_words(content))
    except ValidationError as error:
        raise CheckpointError(_describe(error)) from error
    if parsed.qk_layernorm:
        raise CheckpointError("config.json: qk_layernorm is not supported; no released checkpoint has it")
    return parsed


def _in_older_words(content: Mapping[str, Any]) -> dict[str, Any]:
    """config.json with the rotary settings at its top, where they were before transformers 5."""
    older = {key: value for key, value in content.items() if key not in ROPE_PLACES}
    for place in ROPE_PLACES:
        settings = content.get(place) or {}
        if not isinstance(settings, Mapping):
            raise CheckpointError(f"config.json: {place} is {settings!r}, expected an object")
        rest = {key: value for key, value in settings.items() if key not in ROPE_KEYS}
        kind = rest.pop("rope_type", rest.pop("type", "default"))
        rest.pop("type", None)
        if kind != "default" or rest:
            raise CheckpointError(
                f"config.json: {place} is {dict(settings)!r}: expected the rope_type 'default' and nothing but "
                f"{' and '.join(ROPE_KEYS)}; positions are not scaled here, which would change every result"
            )
        for key in ROPE_KEYS:
            if key in settings and older.setdefault(key, settings[key]) != settings[key]:
                raise CheckpointError(f"config.json: {key} is {older[key]!r}, in {place} {settings[key]!r}; which one?")
    return older


def _describe(error: ValidationError) -> str:
    first = error.errors()[0]
    path = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"config.json: {path} is missing"
    if first["type"] == "extra_forbidden":
        known = ", ".join(sorted(ReleaseConstants.model_fields))
        return f'config.json: unknown key {first["loc"][-1]!r} under "{EXTENSION_KEY}"; known keys: {known}'
    return f"config.json: {path} is {first['input']!r}: {first['msg']}"
