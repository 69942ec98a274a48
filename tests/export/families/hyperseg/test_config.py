"""Dimensions: read from tensors, checked against config.json, and refused where the two do not fit."""

import copy
from typing import Any

import pytest

from hyperseg_export.families.hyperseg.config import HypersegConfig
from hyperseg_export.families.hyperseg.definition import DEFINITION
from hyperseg_export.families.hyperseg.layout import Sizes, tensor_layout
from hyperseg_export.families.hyperseg.tiny import TINY
from hyperseg_export.families.release_constants import EXTENSION_KEY
from hyperseg_export.model import bind_model
from hyperseg_export.modules.phi import PhiConfig
from hyperseg_export.modules.siglip import SiglipConfig
from hyperseg_export.modules.swin import SwinConfig
from hyperseg_runtime.errors import CheckpointError
from key_maps import Shapes, ShapesOnly

SHAPES: Shapes = {name: shape for name, shape, _ in tensor_layout(TINY)}
TOWER = "vision_config.vision_tower"
REMOVED = object()


def test_the_published_checkpoint_has_the_published_dimensions() -> None:
    """Spec 6."""
    sizes = Sizes()
    config = HypersegConfig.from_checkpoint(sizes.config(), {name: shape for name, shape, _ in tensor_layout(sizes)})
    assert config.phi == PhiConfig(2560, 10240, 32, 32, 32, 32, 10000.0, 1280, 1e-5)
    assert config.phi.head_width == 80
    assert config.siglip == SiglipConfig(1152, 4304, 26, 16, 14, 384, 1e-6)
    assert config.swin == SwinConfig(128, (2, 2, 18, 2), (4, 8, 16, 32), 12, 4, 4, 1e-5)
    assert (config.image_px, config.projector_layers) == (1024, 2)
    assert (config.token_rows, config.logit_rows) == (50296, 51200)
    fvp, pixel, mask = config.fvp, config.pixel_decoder, config.mask_decoder
    assert (fvp.width, fvp.heads, fvp.head_width, fvp.mlp_width, fvp.queries) == (512, 8, 64, 2048, 128)
    assert (fvp.map_channels, fvp.out_width) == ((256, 512, 1024), 2560)
    assert (pixel.width, pixel.heads, pixel.points, pixel.layers, pixel.mlp_width) == (256, 8, 4, 6, 1024)
    assert (pixel.map_channels, pixel.fine_channels, pixel.norm_groups) == ((1024, 512, 256), 128, 32)
    assert (mask.width, mask.heads, mask.layers, mask.levels, mask.mlp_width, mask.queries) == (256, 8, 9, 3, 2048, 100)
    assert config.level_shapes == ((32, 32), (64, 64), (128, 128))
    dimensions = config.dimensions(50295, 50256)
    assert (dimensions.image_tokens, dimensions.seg_token_id, dimensions.eos_token_id) == (729, 50295, 50256)
    assert dimensions.map_shapes == ((256, 256), (128, 128), (64, 64), (32, 32))


@pytest.mark.parametrize(
    ("given", "in_config", "positions", "expected"),
    [
        (None, None, 2048, 1280),
        (None, None, 512, 512),
        (None, 300, 2048, 300),
        (177, 300, 2048, 177),
        (177, None, 2048, 177),
    ],
)
def test_where_the_context_comes_from(given: int | None, in_config: int | None, positions: int, expected: int) -> None:
    settings = edited({f"{EXTENSION_KEY}.context": in_config, "max_position_embeddings": positions})
    assert HypersegConfig.from_checkpoint(settings, SHAPES, given).phi.context == expected


@pytest.mark.parametrize(("given", "in_config"), [(513, None), (None, 513), (513, 300)])
def test_a_context_beyond_the_positions_of_the_model(given: int | None, in_config: int | None) -> None:
    settings = edited({f"{EXTENSION_KEY}.context": in_config, "max_position_embeddings": 512})
    with pytest.raises(CheckpointError, match=r"513 .*512 positions"):
        HypersegConfig.from_checkpoint(settings, SHAPES, given)


@pytest.mark.parametrize(("select", "layers"), [(-2, 2), (-1, 3), (-3, 1), (1, 1), (3, 3)])
def test_the_selected_siglip_layer_counts_as_hidden_states_do(select: int, layers: int) -> None:
    """Entry 0 of hidden_states is the input of the first of the three layers."""
    settings = edited({f"{TOWER}.mm_vision_select_layer": select})
    assert HypersegConfig.from_checkpoint(settings, SHAPES).siglip.layers == layers


@pytest.mark.parametrize("select", [0, 4, -4, -9])
def test_a_siglip_layer_that_does_not_exist(select: int) -> None:
    with pytest.raises(CheckpointError, match=f"mm_vision_select_layer {select} selects none of 3 layers"):
        read(edited({f"{TOWER}.mm_vision_select_layer": select}))


def test_cache_heads_default_to_the_heads() -> None:
    assert read(edited({"num_key_value_heads": REMOVED})).phi.cache_heads == 4
    assert read(edited({"num_key_value_heads": 2})).phi.cache_heads == 2


@pytest.mark.parametrize(
    "key",
    [
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "partial_rotary_factor",
        "rope_theta",
        "layer_norm_eps",
        "vision_config",
        TOWER,
        f"{TOWER}.num_attention_heads",
        f"{TOWER}.image_size",
        f"{TOWER}.layer_norm_eps",
        f"{TOWER}.mm_vision_select_layer",
    ],
)
def test_a_missing_setting_is_named(key: str) -> None:
    with pytest.raises(CheckpointError, match=rf"config\.json: {key}.* is missing"):
        read(edited({key: REMOVED}))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hidden_size", 96, "hidden_size is 96, the tensors have 80 columns"),
        ("num_hidden_layers", 3, "num_hidden_layers is 3, the tensors have 2 layers"),
        (f"{TOWER}.image_size", 90, r"image_size 90 with 14 px patches gives 36 tokens, the position table has 25"),
        ("qk_layernorm", True, "qk_layernorm is not supported"),
        (f"{EXTENSION_KEY}.image_size", 4, r"unknown key 'image_size' under .*known keys: context, deformable_points"),
    ],
)
def test_a_setting_that_does_not_fit_the_tensors(key: str, value: object, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read(edited({key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_attention_heads", 0),
        ("num_attention_heads", "4"),
        ("num_attention_heads", 3),
        ("num_key_value_heads", 3),
        ("partial_rotary_factor", "0.4"),
        ("partial_rotary_factor", 0.05),  # one of twenty dims
        ("partial_rotary_factor", 1.5),
        ("rope_theta", None),
        ("layer_norm_eps", "small"),
        ("max_position_embeddings", "many"),
        (f"{TOWER}.num_attention_heads", 5),
        (f"{TOWER}.image_size", "76"),
        (f"{TOWER}.mm_vision_select_layer", "-2"),
        (EXTENSION_KEY, ["image_px"]),
        (f"{EXTENSION_KEY}.image_px", 0),
        (f"{EXTENSION_KEY}.image_px", "256"),
        (f"{EXTENSION_KEY}.context", -1),
        (f"{EXTENSION_KEY}.perceiver_heads", 0),
        (f"{EXTENSION_KEY}.perceiver_heads", 7),
        (f"{EXTENSION_KEY}.mask_heads", 7),
    ],
)
def test_a_setting_that_no_model_can_have_is_refused(key: str, value: object) -> None:
    settings = edited({"max_position_embeddings": 512, f"{EXTENSION_KEY}.context": None})
    with pytest.raises(CheckpointError):
        config = read(edited({key: value}, settings))
        config.check_context()
        bind_model("hyperseg", DEFINITION.of(config, seg=1, eos=0, files={}), ShapesOnly(SHAPES))


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("lm_head.weight", "tensor lm_head.weight is missing; its shape gives a dimension"),
        ("model.layers.0.", r"expected model.layers.\{i\} for i = 0, 1, ...; found \[1\]"),
        ("model.vision_tower_mask.layers.1.blocks.", r"expected .*layers.1.blocks.\{i\} for i = 0, .*found \[\]"),
    ],
)
def test_tensors_that_give_a_dimension_are_needed(missing: str, message: str) -> None:
    shapes = {name: shape for name, shape in SHAPES.items() if not name.startswith(missing)}
    with pytest.raises(CheckpointError, match=message):
        HypersegConfig.from_checkpoint(TINY.config(), shapes)


def test_a_context_that_holds_no_prompt_is_refused() -> None:
    visual = 25 + TINY.perceiver_queries + TINY.mask_queries
    HypersegConfig.from_checkpoint(TINY.config(), SHAPES, visual + 69).check_context()
    config = HypersegConfig.from_checkpoint(TINY.config(), SHAPES, visual + 68)
    with pytest.raises(CheckpointError, match=rf"a context of 115 .* take {visual}, .* of {visual + 69} or more"):
        config.check_context()


def test_map_shapes_follow_the_image() -> None:
    config = read(edited({f"{EXTENSION_KEY}.image_px": 90}))
    assert config.map_shapes == ((23, 23), (12, 12), (6, 6), (3, 3))
    assert config.level_shapes == ((3, 3), (6, 6), (12, 12))


def read(settings: dict[str, Any]) -> HypersegConfig:
    return HypersegConfig.from_checkpoint(settings, SHAPES)


def edited(changes: dict[str, object], settings: dict[str, Any] | None = None) -> dict[str, Any]:
    """config.json of the tiny checkpoint with some values, by dotted path, changed or removed."""
    settings = copy.deepcopy(TINY.config() if settings is None else settings)
    for path, value in changes.items():
        *folders, leaf = path.split(".")
        place = settings
        for name in folders:
            place = place[name]
        if value is REMOVED:
            del place[leaf]
        else:
            place[leaf] = value
    return settings
