"""The layout of a checkpoint, held against the list of the constructed published model."""

import json
import math
from pathlib import Path

import pytest
import torch

from hyperseg_export.families.psalm.layout import Sizes, tensor_layout
from hyperseg_export.families.psalm.synthetic import PRESET
from hyperseg_export.families.psalm.tiny import TINY

GOLDEN = Path(__file__).parents[3] / "golden" / "psalm"
ELEMENTS = 1_587_567_163
"""psalm-spec 9."""


@pytest.fixture(scope="module")
def published() -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    stored = json.loads((GOLDEN / "real_state_dict.json").read_text())
    return {name: (tuple(shape), getattr(torch, dtype)) for name, (shape, dtype) in stored.items()}


def test_the_default_layout_is_the_published_one(published: dict[str, tuple[tuple[int, ...], torch.dtype]]) -> None:
    layout = list(tensor_layout(Sizes()))
    assert len(layout) == len(published) == 935
    assert {name: (shape, dtype) for name, shape, dtype in layout} == published
    assert sum(math.prod(shape) for _, shape, _ in layout) == ELEMENTS
    assert PRESET.size_bytes(None) == pytest.approx(6.35e9, rel=0.01)


def test_a_tiny_layout_has_the_same_kinds_of_names(published: dict[str, tuple[tuple[int, ...], torch.dtype]]) -> None:
    def kinds(names: list[str]) -> set[str]:
        return {".".join("#" if part.isdigit() else part for part in name.split(".")) for name in names}

    assert kinds([name for name, _, _ in tensor_layout(TINY)]) == kinds(list(published))


def test_the_config_holds_the_published_values() -> None:
    config = Sizes().config()
    assert (config["model_type"], config["mm_projector_type"]) == ("llava_phi", "swin_conv")
    assert (config["hidden_size"], config["num_hidden_layers"], config["num_attention_heads"]) == (2048, 24, 32)
    assert int(config["partial_rotary_factor"] * 2048 // 32) == 32
    assert json.loads(json.dumps(config)) == config
