"""Dimensions: read from tensors, checked against config.json, and refused where the two do not fit."""

import copy
from typing import Any

import pytest

from hyperseg_export.families.psalm.config import PsalmConfig
from hyperseg_export.families.psalm.layout import Sizes, tensor_layout
from hyperseg_export.families.psalm.tiny import TINY
from hyperseg_export.modules.convolution_projector import ConvolutionProjectorConfig
from hyperseg_export.modules.phi import PhiConfig
from hyperseg_export.modules.swin import SwinConfig
from hyperseg_runtime.errors import CheckpointError
from hyperseg_runtime.families.psalm.published import PUBLISHED
from key_maps import Shapes

SHAPES: Shapes = {name: shape for name, shape, _ in tensor_layout(TINY)}
CONV1 = "model.mm_projector.layer1.0.conv1.weight"


def test_the_published_checkpoint_has_the_published_dimensions() -> None:
    """psalm-spec 1 and 5."""
    sizes = Sizes()
    config = PsalmConfig.from_checkpoint(sizes.config(), {name: shape for name, shape, _ in tensor_layout(sizes)})
    assert config.phi == PhiConfig(2048, 8192, 24, 32, 32, 32, 10000.0, 1280, 1e-5)
    assert config.swin == SwinConfig(128, (2, 2, 18, 2), (4, 8, 16, 32), 12, 4, 4, 1e-5)
    assert config.projector == ConvolutionProjectorConfig(1024, 2048, 2048)
    assert config.fused_attention and config.image_tokens == 256
    assert config.dimensions(50296, 50256) == PUBLISHED


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("hidden_size", 81, "hidden_size is 81, the tensors have 80 columns"),
        ("num_hidden_layers", 3, "num_hidden_layers is 3, the tensors have 2 layers"),
        ("mm_projector_type", "conv", "mm_projector_type is 'conv'"),
        ("partial_rotary_factor", 0.55, "the number must be even"),
        ("num_attention_heads", 3, "80 wide, which 3 heads cannot share"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(setting: str, value: Any, message: str) -> None:
    settings = {**copy.deepcopy(TINY.config()), setting: value}
    settings = {k: v for k, v in settings.items() if k != "num_key_value_heads"}
    with pytest.raises(CheckpointError, match=message):
        PsalmConfig.from_checkpoint(settings, SHAPES)


def test_a_projector_of_another_kernel_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"conv1.weight has a kernel of \[1, 1\], expected \[3, 3\]"):
        PsalmConfig.from_checkpoint(TINY.config(), {**SHAPES, CONV1: (72, 128, 1, 1)})


def test_a_context_without_room_is_refused() -> None:
    config = PsalmConfig.from_checkpoint(TINY.config(), SHAPES, 109)
    with pytest.raises(
        CheckpointError, match="a context of 109 tokens holds no prompt: image and mask queries take 26"
    ):
        config.check_context()
    PsalmConfig.from_checkpoint(TINY.config(), SHAPES, 110).check_context()
