"""Which family a checkpoint is of, from its tensor names alone."""

import re

import pytest

from hyperseg_export.families.registry import EXPORT_FAMILIES, detect_family
from hyperseg_runtime.errors import CheckpointError
from hyperseg_runtime.families import FAMILIES

COMMON = ["model.embed_tokens.weight", "pixel_decoder.mask_features.weight", "lm_head.weight"]


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("hyperseg", "mgvp_layers.norm.weight"),
        ("instructseg", "ovp_layers.layers.0.0.norm_media.weight"),
        ("psalm", "model.mm_projector.layer1.0.conv1.weight"),
        ("unilseg", "backbone_visual.patch_embed.proj.weight"),
        ("hipie", "detr.mask_dino.pixel_decoder.input_proj.0.0.weight"),
    ],
)
def test_a_family_is_known_by_what_only_it_has(name: str, tensor: str) -> None:
    assert detect_family([*COMMON, tensor]).name == name


@pytest.mark.parametrize("names", [[], ["bert.pooler.weight", "my_mgvp_layers.x"]])
def test_an_unknown_model_is_told_what_is_known(names: list[str]) -> None:
    tell_tales = "mgvp_layers. or ovp_layers. or model.mm_projector.layer1. or backbone_visual. or detr.mask_dino."
    expected = f"none of its {len(names)} tensors starts with {tell_tales}; families known here: "
    with pytest.raises(CheckpointError, match=re.escape(expected)):
        detect_family(names)


def test_every_family_that_is_exported_can_be_run() -> None:
    assert EXPORT_FAMILIES.keys() <= FAMILIES.keys()
    assert all(family.name == name for name, family in EXPORT_FAMILIES.items())
