"""Dimensions come from the tensors; what contradicts them, or no model can have, is refused by name."""

import re

import pytest

from hipie_support import published, published_config, published_vit
from hyperseg_export.families.hipie.config import HipieConfig
from hyperseg_export.modules.plain_vit import PlainVitConfig
from hyperseg_export.modules.resnet import ResnetConfig
from hyperseg_runtime.errors import CheckpointError

BLOCKS = "detr.detr.backbone.0.backbone.blocks"


def test_the_published_model_needs_no_config() -> None:
    """hipie-spec 5, 6.1, 8 to 12."""
    config = published_config()
    assert config.backbone == ResnetConfig(64, (256, 512, 1024, 2048), (64, 128, 256, 512), (3, 4, 6, 3))
    assert (config.text.token_rows, config.text.layers, config.text.heads) == (30522, 12, 12)
    layer = config.detr.layer
    assert (layer.width, layer.heads, layer.levels, layer.points, layer.mlp_width) == (256, 8, 4, 4, 2048)
    assert (config.detr.proposals, config.detr.background, config.detr.fusion.inner) == (900, 10, 2048)
    assert (config.mask_dino.encoder_layers, config.mask_dino.decoder_layers, config.mask_dino.queries) == (6, 9, 300)
    dims = config.dimensions()
    assert (dims.size_multiple, dims.queries, dims.mask_parameters, dims.mask_channels) == (1, 910, 169, 8)
    assert (dims.map_channels, dims.piece_words) == ((512, 1024, 2048), 512)


def test_windows_are_where_tables_are_small() -> None:
    """hipie-spec 6.2."""
    config = published_config(published_vit())
    vit = config.backbone
    assert isinstance(vit, PlainVitConfig)
    assert (vit.width, vit.heads, vit.mlp_width, vit.patch_px, vit.grid, vit.window) == (1280, 16, 5120, 16, 14, 14)
    assert [index for index, windowed in enumerate(vit.windowed) if windowed] == [0, 1, 3, 4, 6, 7, 9, 10]
    assert {rows for rows, windowed in zip(vit.table_rows, vit.windowed, strict=True) if not windowed} == {127}
    assert config.dimensions().size_multiple == 32
    assert config.dimensions().map_channels == (640, 1280, 1280)


@pytest.mark.parametrize(
    ("extension", "message"),
    [
        ({"heads": 0}, "hyperseg_trt.heads is 0"),
        ({"heads": 5}, "which 5 heads cannot share"),
        ({"text_heads": "12"}, "hyperseg_trt.text_heads is '12'"),
        ({"queries": 300}, "known keys: heads, long_px, mask_dino_queries, options, short_px, text_heads, vit_heads"),
    ],
)
def test_a_setting_that_no_model_can_have_is_refused(extension: object, message: str) -> None:
    with pytest.raises(CheckpointError, match=re.escape(message)):
        HipieConfig.from_checkpoint({"hyperseg_trt": extension}, published())


def test_tables_of_three_sizes_are_refused() -> None:
    shapes = {**published_vit(), f"{BLOCKS}.5.attn.rel_pos_h": (63, 80)}
    with pytest.raises(CheckpointError, match=r"tables of relative positions of \[27, 63, 127\] rows"):
        published_config(shapes)


def test_samples_that_heads_cannot_share_are_refused() -> None:
    name = "detr.detr.transformer.encoder.layers.0.self_attn.attention_weights.weight"
    with pytest.raises(CheckpointError, match="weighs 100 samples of 256 channels, which 8 heads on 4 levels"):
        published_config({**published(), name: (100, 256)})
