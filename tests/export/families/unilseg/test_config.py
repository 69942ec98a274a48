"""Dimensions come from the tensors; what contradicts them, or no model can have, is refused by name."""

import re

import pytest

from hyperseg_export.families.unilseg.config import UnilsegConfig
from hyperseg_export.families.unilseg.layout import Sizes, tensor_layout
from hyperseg_export.families.unilseg.tiny import TINY
from hyperseg_runtime.errors import CheckpointError
from unilseg_support import SMALL, published

SHAPES = {name: shape for name, shape, _ in tensor_layout(TINY)}


def read(extension: object, **changed: tuple[int, ...]) -> UnilsegConfig:
    return UnilsegConfig.from_checkpoint({"hyperseg_trt": extension}, {**SHAPES, **changed})


def test_the_published_model_needs_no_config() -> None:
    """unilseg-spec 2, 5, 6, 9, 10."""
    config = UnilsegConfig.from_checkpoint({}, {name: shape for name, (shape, _) in published().items()})
    assert (config.image_px, config.text.words, config.text.token_rows) == (480, 17, 49408)
    assert (config.text.width, config.text.heads, config.text.layers, config.text.mlp_width) == (512, 8, 12, 2048)
    assert (config.swin.depths, config.swin.heads, config.swin.window) == ((2, 2, 18, 2), (4, 8, 16, 32), 7)
    assert (config.fpn.width, config.fpn.mask_width, config.fpn.mlp_width) == (512, 256, 2048)
    assert (config.query_decoder.width, config.query_decoder.layers, config.heads) == (256, 6, 8)
    dims = config.dimensions()
    assert (dims.start_token_id, dims.end_token_id) == (49406, 49407)
    assert dims.map_shapes == ((120, 120), (60, 60), (30, 30), (15, 15))
    assert dims.map_channels == (128, 256, 512, 1024)


@pytest.mark.parametrize("sizes", [TINY, SMALL, Sizes()])
def test_a_written_config_is_read_back(sizes: Sizes) -> None:
    shapes = {name: shape for name, shape, _ in tensor_layout(sizes)}
    config = UnilsegConfig.from_checkpoint(sizes.config(), shapes)
    assert (config.image_px, config.text.words) == (sizes.image_px, sizes.words)
    assert config.text.layers == sizes.text_layers
    assert config.query_decoder.layers == sizes.decoder_layers
    assert config.swin.depths == sizes.swin_depths


@pytest.mark.parametrize(
    ("extension", "message"),
    [
        ({"image_px": 100}, "image_px is 100, expected a multiple of 32"),
        ({"image_px": "480"}, "hyperseg_trt.image_px is '480'"),
        ({"image_px": 0}, "hyperseg_trt.image_px is 0"),
        ({"words": 1}, "hyperseg_trt.words is 1"),
        ({"words": 78}, "words is 78, the model knows 77 positions"),
        ({"image_size": 480}, "known keys: image_px, words"),
        (["image_px"], "known keys: image_px, words"),
    ],
)
def test_a_setting_that_no_model_can_have_is_refused(extension: object, message: str) -> None:
    with pytest.raises(CheckpointError, match=re.escape(message)):
        read(extension)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("pixel_decoder.adapter_4.0.weight", (80, 128, 1, 1), "has 80 on axis 0, the text encoder has 64"),
        ("query_decoder.visual_proj.0.weight", (72, 128, 3, 3), "has 64 on axis 0, the query decoder has 72"),
        ("backbone.token_embedding.weight", (49408, 96), "backbone.transformer is 96 wide, which 64 heads"),
        ("backbone.token_embedding.weight", (2, 64), "2 token embeddings cannot hold padding, start and end"),
        ("backbone.token_embedding.weight", (49408,), "expected 2 axes"),
        ("backbone_visual.layers.1.blocks.0.attn.relative_position_bias_table", (168, 2), "(2 * window - 1)^2 rows"),
    ],
)
def test_tensors_that_contradict_each_other(name: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(CheckpointError, match=re.escape(message)):
        read({"image_px": 128}, **{name: shape})


def test_a_layer_left_out_is_found() -> None:
    shapes = {name: shape for name, shape in SHAPES.items() if not name.startswith("backbone.transformer.resblocks.0.")}
    shapes["backbone.transformer.resblocks.0.mlp.c_fc.weight"] = (128, 64)
    shapes = {name: shape for name, shape in shapes.items() if ".decoder.layers.0.norm" not in name}
    assert UnilsegConfig.from_checkpoint({}, shapes).text.layers == 2  # names alone: the key map finds what lacks
    gone = {name: shape for name, shape in SHAPES.items() if ".decoder.layers.0." not in name}
    with pytest.raises(CheckpointError, match=r"expected query_decoder.*layers.\{i\} for i = 0, 1, ...; found \[1\]"):
        UnilsegConfig.from_checkpoint({}, gone)
