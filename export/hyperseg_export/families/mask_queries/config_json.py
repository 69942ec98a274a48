"""The parts of a checkpoint's config.json that decide something, with their types. A family adds its own."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hyperseg_export.families.release_constants import EXTENSION_KEY, Count
from hyperseg_runtime.errors import CheckpointError

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


TanhGelu = Literal["gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_accurate"]
"""transformers' names of the one function that the modules have."""
ROPE_PLACES = ("rope_parameters", "rope_scaling")
"""Where newer writers put what stood at the top, as far as they change nothing."""
ROPE_KEYS = ("rope_theta", "partial_rotary_factor")
ROTARY_SHARE = ("rotary_pct", "rope_pct")
"""GPT-NeoX's and StableLM's words for partial_rotary_factor."""
ACTIVATION = ("hidden_activation", "activation_function")
"""Gemma's and GPT-2's words for hidden_act."""
COMPUTED: dict[str, tuple[object, ...]] = {
    "tie_word_embeddings": (False, None),
    "quantization_config": (None, {}),
    "compression_config": (None, {}),
    "sliding_window": (None,),
    "use_parallel_residual": (True, None),
    "scale_attn_by_inverse_layer_idx": (False, None),
    "rope_interleaved": (False, None),
    "no_rope_layers": (None, []),
    "attn_logit_softcapping": (None,),
    "final_logit_softcapping": (None,),
}
"""Settings of transformers' models of this kind that the modules know in one form; a missing one has it, too."""


class Section(BaseModel):
    """Keys that decide nothing are ignored: a published config.json has dozens.

    Those that would change the result and are not done here may only have the value that the modules have.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class ReleaseConstants(Section):
    """What neither the tensors nor the published keys tell; defaults are the release's values.

    A config.json may hold others under the key "hyperseg_trt".
    """

    model_config = ConfigDict(extra="forbid")

    image_px: Count = 1024
    mask_heads: Count = 8
    deformable_points: Count = 4
    context: Count | None = None
    """Cache slots; None: the default, or the model's number of positions if that is smaller."""


class VisionTower(Section):
    hidden_act: TanhGelu = "gelu_pytorch_tanh"
    num_attention_heads: Count
    image_size: Count
    layer_norm_eps: Positive
    mm_vision_select_layer: int


class Projector(Section):
    mm_projector_type: Annotated[str, Field(pattern=r"^(linear|mlp[1-9]x_gelu)$")]

    @property
    def layers(self) -> int:
        """Linear layers, with a GELU between two of them."""
        found = re.search(r"\d", self.mm_projector_type)
        return int(found[0]) if found else 1


class VisionConfig(Section):
    vision_tower: VisionTower
    mm_projector: Projector


class LanguageConfig(Section):
    """Of the language model, which is a Phi."""

    hidden_act: TanhGelu = "gelu_new"
    hidden_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    num_key_value_heads: Count | None = None
    partial_rotary_factor: Annotated[float, Field(gt=0, le=1)]
    rope_theta: Positive
    head_dim: Count | None = None
    max_position_embeddings: Count
    layer_norm_eps: Positive
    qk_layernorm: bool = False
    hyperseg_trt: ReleaseConstants = ReleaseConstants()


class TowerConfig(LanguageConfig):
    """With an image tower beside the language model."""

    vision_config: VisionConfig


Config = TypeVar("Config", bound=LanguageConfig)


def parse_config(kind: type[Config], content: Mapping[str, Any]) -> Config:
    """Raises CheckpointError naming the first setting that is missing or impossible."""
    try:
        parsed = kind.model_validate(_in_older_words(content))
    except ValidationError as error:
        raise CheckpointError(_describe(error, kind)) from error
    if parsed.qk_layernorm:
        raise CheckpointError("config.json: qk_layernorm is not supported; no released checkpoint has it")
    if parsed.head_dim not in (None, parsed.hidden_size // parsed.num_attention_heads):
        raise CheckpointError(
            f"config.json: head_dim is {parsed.head_dim}, expected hidden_size {parsed.hidden_size} / "
            f"num_attention_heads {parsed.num_attention_heads}; heads of another width are not computed here"
        )
    return parsed


def _in_older_words(content: Mapping[str, Any]) -> dict[str, Any]:
    """config.json in the words of the release: rotary settings at its top, where they were before transformers 5."""
    for key, allowed in COMPUTED.items():
        if content.get(key, allowed[0]) not in allowed:
            raise CheckpointError(
                f"config.json: {key} is {content[key]!r}, expected {allowed[0]!r}: nothing else is computed here, and "
                "leaving it out would change every result"
            )
    older = {key: value for key, value in content.items() if key not in ROPE_PLACES and value is not None}
    for words, key in ((ROTARY_SHARE, "partial_rotary_factor"), (ACTIVATION, "hidden_act")):
        for word in words:
            _take(older, key, older.pop(word, None), word)
    for place in ROPE_PLACES:
        for key, value in _unscaled(content.get(place) or {}, place).items():
            _take(older, key, value, place)
    return older


def _take(settings: dict[str, Any], key: str, value: object, place: str) -> None:
    if value is not None and settings.setdefault(key, value) != value:
        raise CheckpointError(f"config.json: {key} is {settings[key]!r}, in {place} {value!r}; which one?")


def _unscaled(settings: object, place: str) -> dict[str, Any]:
    """What rotary settings hold of `ROPE_KEYS`. Raises CheckpointError where positions would be scaled."""
    if not isinstance(settings, Mapping):
        raise CheckpointError(f"config.json: {place} is {settings!r}, expected an object")
    kinds = list(settings.values())
    if kinds and isinstance(kinds[0], Mapping) and all(kind == kinds[0] for kind in kinds):
        return _unscaled(kinds[0], place)  # one for each type of layer, all the same
    given = {key: value for key, value in settings.items() if value is not None}
    rest = {key: value for key, value in given.items() if key not in ROPE_KEYS}
    types = {str(rest.pop(key, "default")) for key in ("rope_type", "type")} - {"default"}
    unit = rest.pop("factor", 1) == 1 and types <= {"linear"}  # linear by 1 is no scaling
    if rest or not unit:
        raise CheckpointError(
            f"config.json: {place} is {dict(settings)!r}: expected the rope_type 'default' and nothing but "
            f"{' and '.join(ROPE_KEYS)}; positions are not scaled here, which would change every result"
        )
    return {key: value for key, value in given.items() if key in ROPE_KEYS}


def _describe(error: ValidationError, kind: type[LanguageConfig]) -> str:
    first = error.errors()[0]
    path = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"config.json: {path} is missing"
    if first["type"] == "extra_forbidden":
        constants = kind.model_fields[EXTENSION_KEY].default
        known = ", ".join(sorted(type(constants).model_fields))
        return f'config.json: unknown key {first["loc"][-1]!r} under "{EXTENSION_KEY}"; known keys: {known}'
    return f"config.json: {path} is {first['input']!r}: {first['msg']}"
