"""What is known of HIPIE's published checkpoints, and of the small one that the original code was run with."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path

import torch

from hyperseg_export.families.hipie.config import HipieConfig
from key_maps import Shapes

GOLDEN = Path(__file__).parent / "golden" / "hipie"

VIT_PROJECTIONS = {"0": 640, "1": 1280, "2": 1280, "3": 1280}
"""Channels that each input projection reads where the backbone is ViT-H (hipie-spec 1)."""


@functools.cache
def _stored() -> dict[str, dict[str, tuple[list[int], str]]]:
    found: dict[str, dict[str, tuple[list[int], str]]] = json.loads((GOLDEN / "real_state_dict.json").read_text())
    return found


def published() -> Shapes:
    """Names of the full-size ResNet-50 model -> shape."""
    return {name: tuple(shape) for name, (shape, _) in _stored()["r50"].items()}


def published_vit() -> Shapes:
    """The same with ViT-H in its place, for which the input projections are wider."""
    backbone = {name: tuple(shape) for name, (shape, _) in _stored()["vit_h_backbone"].items()}
    rest = {name: shape for name, shape in published().items() if ".backbone." not in name}
    return {**backbone, **dict(_wider(rest))}


def _wider(shapes: Shapes) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, shape in shapes.items():
        *_, level, part, kind = f"..{name}".split(".")
        projects = ".input_proj." in name and part == "0" and kind == "weight"
        if projects:
            yield name, (shape[0], VIT_PROJECTIONS[level], *shape[2:])
        elif name == "detr.mask_dino.pixel_decoder.adapter_1.weight":
            yield name, (shape[0], VIT_PROJECTIONS["0"], *shape[2:])
        else:
            yield name, shape


def alias_groups() -> list[list[str]]:
    """Names of one tensor each."""
    found: list[list[str]] = json.loads((GOLDEN / "real_state_dict.json").read_text())["aliases"]
    return found


def published_config(shapes: Shapes | None = None) -> HipieConfig:
    return HipieConfig.from_checkpoint({}, shapes or published())


class RandomTensors:
    """Tensors of these shapes without a file; `same` names hold the values of another."""

    def __init__(self, shapes: Shapes, same: dict[str, str]) -> None:
        self.shapes = shapes
        self.same = same

    def tensor(self, name: str) -> torch.Tensor:
        own = self.same.get(name, name)
        generator = torch.Generator().manual_seed(sum(own.encode()) % 2**31)
        return torch.randn(self.shapes[name], generator=generator)
