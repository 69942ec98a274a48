"""The layout of a checkpoint, held against the published model's list of tensors."""

import json
import math
from pathlib import Path

import pytest
import torch

from hyperseg_export.families.hyperseg.layout import Sizes, tensor_layout
from hyperseg_export.families.hyperseg.tiny import TINY

ELEMENTS = 3_339_120_765
"""Spec 11: derived from the published file sizes."""


@pytest.fixture(scope="module")
def published(golden_dir: Path) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    stored = json.loads((golden_dir.parent / "hyperseg_3b_state_dict.json").read_text())
    return {name: (tuple(shape), getattr(torch, dtype)) for name, (shape, dtype) in stored.items()}


def test_the_default_layout_is_the_published_one(published: dict[str, tuple[tuple[int, ...], torch.dtype]]) -> None:
    layout = list(tensor_layout(Sizes()))
    assert len(layout) == len(published) == 1636
    assert {name: (shape, dtype) for name, shape, dtype in layout} == published
    assert sum(math.prod(shape) for _, shape, _ in layout) == ELEMENTS


def test_a_tiny_layout_has_the_same_kinds_of_names(published: dict[str, tuple[tuple[int, ...], torch.dtype]]) -> None:
    def kinds(names: list[str]) -> set[str]:
        return {".".join("#" if part.isdigit() else part for part in name.split(".")) for name in names}

    assert kinds([name for name, _, _ in tensor_layout(TINY)]) == kinds(list(published))


def test_the_config_holds_the_published_values() -> None:
    """Spec 6 and 11."""
    config = Sizes().config()
    assert config["model_type"] == "mipha_phi"
    assert (config["hidden_size"], config["num_hidden_layers"], config["num_attention_heads"]) == (2560, 32, 32)
    assert int(config["partial_rotary_factor"] * 2560 // 32) == 32
    tower = config["vision_config"]["vision_tower"]
    assert (tower["image_size"], tower["patch_size"], tower["mm_vision_select_layer"]) == (384, 14, -2)
    assert json.loads(json.dumps(config)) == config
