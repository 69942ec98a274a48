from typing import Any

import pytest
from pydantic import ValidationError

from hyperseg_kernels.catalog import DEFORMABLE_ATTENTION, MASK_READOUT, PILLOW_RESIZE
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.families import FAMILIES
from hyperseg_runtime.families.hyperseg.published import PUBLISHED
from hyperseg_runtime.families.hyperseg.spec import HypersegDimensions, graph_specs
from hyperseg_runtime.families.mask_queries.graph_specs import DECODED_MAPS, cache_names
from hyperseg_runtime.images.resize_tables import table_specs

PRODUCED_BY_THE_HOST = {
    "pixels",
    *(tensor.name for image in PUBLISHED.encoder_images for tensor in table_specs(image.name, 1, 1)),
    "latents",
    "inputs_embeds",
    "position_ids",
    "attended_slots",
    "slot_numbers",
    "write_indices",
    "scored_rows",
    "query_rows",
    "condition_spans",
    "remembered_rows",
    "row_index",
    "row_weight",
    "column_index",
    "column_weight",
}


@pytest.fixture(scope="session")
def real_specs(real_dims: HypersegDimensions) -> dict[str, GraphSpec]:
    return {spec.name: spec for spec in graph_specs(real_dims)}


def test_the_nine_graphs(real_specs: dict[str, GraphSpec]) -> None:
    assert list(real_specs) == [
        "preprocess",
        "image_encoder",
        "clip_encoder",
        "fvp",
        "llm",
        "lm_head",
        "pixel_decoder",
        "mask_decoder",
        "mask_readout",
    ]


@pytest.mark.parametrize(
    ("graph", "tensor"),
    [
        ("preprocess", "pixels uint8 (batch, pixels_height, pixels_width, 3)"),
        ("preprocess", "images_column_index int64 (images_column_taps, columns)"),
        ("preprocess", "images_clip float32 (batch, 3, 384, 384)"),
        ("image_encoder", "images float32 (batch, 3, 1024, 1024)"),
        ("image_encoder", "res5 float32 (batch, 1024, 32, 32)"),
        ("clip_encoder", "image_tokens float32 (batch, 729, 2560)"),
        ("fvp", "latents float32 (batch, 128, 512)"),
        ("fvp", "fvp_tokens float32 (batch, 128, 2560)"),
        ("llm", "inputs_embeds float32 (batch, tokens, 2560)"),
        ("llm", "attended_slots int64 (batch, tokens, 2, 2)"),
        ("llm", "slot_numbers int64 (slots)"),
        ("llm", "past_key.31 float32 (batch, 32, 1280, 80)"),
        ("lm_head", "logits float32 (batch, 51200)"),
        ("pixel_decoder", "mask_features float32 (batch, 256, 256, 256)"),
        ("pixel_decoder", "encoded_s32 float32 (batch, 256, 32, 32)"),
        ("pixel_decoder", "mask_features_s8 float32 (batch, 256, 128, 128)"),
        ("mask_decoder", "mask_logits float32 (batch, 100, 256, 256)"),
        ("mask_decoder", "score_logits float32 (batch, 100, conditions)"),
        ("mask_decoder", "memory float32 (batch, memory_rows, 512)"),
        ("mask_decoder", "class_logits float32 (batch, 100, conditions)"),
        ("mask_decoder", "region_logits float32 (batch, 100, conditions)"),
        ("mask_readout", "mask_bits uint8 (batch, conditions, image_height, ceil(image_width / 8))"),
    ],
)
def test_shapes_of_the_real_model(real_specs: dict[str, GraphSpec], graph: str, tensor: str) -> None:
    spec = real_specs[graph]
    assert tensor in map(str, (*spec.inputs, *spec.outputs))


def test_what_a_graph_takes_an_earlier_one_gives_in_the_same_form(real_specs: dict[str, GraphSpec]) -> None:
    known: dict[str, object] = {}
    for spec in real_specs.values():
        for tensor in spec.inputs:
            if tensor.name in known:
                assert tensor == known[tensor.name]
            else:
                assert tensor.name in PRODUCED_BY_THE_HOST or tensor.name in spec.in_place.values()
        known |= {tensor.name: tensor for tensor in spec.outputs}
    assert set(DECODED_MAPS) <= set(known)


def test_every_cache_is_written_in_place(real_specs: dict[str, GraphSpec], real_dims: HypersegDimensions) -> None:
    pairs: dict[str, str] = {}
    for layer in range(real_dims.layers):
        past_key, past_value, present_key, present_value = cache_names(layer)
        pairs |= {present_key: past_key, present_value: past_value}
    assert real_specs["llm"].in_place == pairs


def test_three_graphs_need_our_operators(real_specs: dict[str, GraphSpec]) -> None:
    assert {name: spec.custom_ops for name, spec in real_specs.items() if spec.custom_ops} == {
        "preprocess": (str(PILLOW_RESIZE),),
        "pixel_decoder": (str(DEFORMABLE_ATTENTION),),
        "mask_readout": (str(MASK_READOUT),),
    }


def test_a_call_may_fill_the_whole_cache_or_hold_one_token(real_specs: dict[str, GraphSpec]) -> None:
    for name in ("llm", "mask_decoder"):
        tokens = real_specs[name].axis_ranges["tokens"]
        assert (tokens.minimum, tokens.typical, tokens.maximum) == (1, 729 + 128 + 100 + 83, 1280)


def test_the_exported_bundle_follows_these_specs(bundle: Bundle, dims: HypersegDimensions) -> None:
    assert tuple(entry.spec for entry in bundle.manifest.graphs) == graph_specs(dims)
    assert FAMILIES["hyperseg"].graph_specs(bundle.manifest.dimensions) == graph_specs(dims)


@pytest.mark.parametrize(
    "change",
    [
        {"width": None},
        {"width": "wide"},
        {"depth": 3},
        {"map_shapes": [[1]]},
        {"context": 0},
        {"perceiver_queries": 0},
        {"map_channels": [1, 2, 3]},
        {"map_shapes": []},
        {"layers": -1},
        {"image_px": 0},
        {"token_rows": -5},
    ],
    ids=str,
)
def test_dimensions_that_make_no_model_are_refused(real_dims: HypersegDimensions, change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FAMILIES["hyperseg"].graph_specs({**real_dims.model_dump(), **change})
