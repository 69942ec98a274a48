"""The layout of a checkpoint, held against the names and shapes of the full-size models."""

import math

from hipie_support import alias_groups, published, published_vit
from hyperseg_export.families.hipie.config import BACKBONE, HipieConfig
from hyperseg_export.families.hipie.layout import ResnetSizes, Sizes, VitSizes, second_names, tensor_layout
from hyperseg_export.families.hipie.synthetic import PRESETS, size_bytes, vit
from hyperseg_export.modules.plain_vit import PlainVitConfig

ELEMENTS = {"r50": 197_690_786, "vit": 634_714_240}
"""hipie-spec 16: of the whole ResNet-50 model without second names, and of ViT-H's backbone alone."""


def test_the_default_layout_is_the_published_one() -> None:
    layout = list(tensor_layout(Sizes()))
    assert len(layout) == len(dict(layout)) == 1438
    assert dict(layout) == published()
    buffers = ("criterion", "detr.mask_dino_criterion", f"{BACKBONE}.")
    counted = [
        name for name in published() if not (name.startswith(buffers) and (".norm." in name or "riterion" in name))
    ]
    elements = sum(math.prod(published()[name]) for name in set(counted) - second_names(Sizes()).keys())
    assert elements == ELEMENTS["r50"]


def test_the_layout_with_vit_h() -> None:
    sizes = Sizes(backbone=VitSizes())
    assert dict(tensor_layout(sizes)) == published_vit()
    assert sum(math.prod(shape) for _, shape in VitSizes().names()) == ELEMENTS["vit"]


def test_second_names_are_the_published_ones() -> None:
    second = second_names(Sizes())
    groups = {group[-1]: set(group[:-1]) for group in alias_groups()}
    by_first: dict[str, set[str]] = {}
    for name, first in second.items():
        by_first.setdefault(first, set()).add(name)
    assert {frozenset({first, *names}) for first, names in by_first.items()} == {
        frozenset({first, *names}) for first, names in groups.items()
    }


def test_other_sizes_are_read_back() -> None:
    small = Sizes(
        backbone=ResnetSizes(8, (4, 8, 16, 32), (1, 1, 2, 1)), text_width=48, text_heads=4, width=64, mlp_width=96,
        fusion_width=128, proposals=20, background=3, vectors=12, encoder_layers=2, vector_decoder_layers=3,
    )  # fmt: skip
    config = HipieConfig.from_checkpoint(small.config(), dict(tensor_layout(small)))
    assert (config.detr.proposals, config.detr.encoder_layers, config.mask_dino.decoder_layers) == (20, 2, 3)
    assert (config.mask_dino.queries, config.alignments, config.text.heads) == (12, 5, 4)


def test_the_first_blocks_of_vit_h_alone() -> None:
    """They are the published ones, windows and all; the rest of the model is whole."""
    layout, published = dict(tensor_layout(vit(8))), published_vit()
    assert published.items() >= layout.items()
    assert all(f"{BACKBONE}.blocks." in name for name in published.keys() - layout.keys())
    backbone = HipieConfig.from_checkpoint(vit(8).config(), layout).backbone
    assert isinstance(backbone, PlainVitConfig)
    assert backbone.windowed == (True, True, False, True, True, False, True, True)
    assert (backbone.width, backbone.heads, backbone.window, backbone.grid) == (1280, 16, 14, 14)


def test_a_preset_for_each_backbone() -> None:
    """With the sizes that are spoken of: tensors in float32, names of one tensor once."""
    of_name = {preset.name: preset for preset in PRESETS}
    assert of_name["hipie"].size_bytes(None) == size_bytes(Sizes())
    assert of_name["hipie-vit-h"].size_bytes(None) == size_bytes(Sizes(backbone=VitSizes()))
    assert of_name["hipie-vit-h"].size_bytes(8) < 1.4e9
    for preset in PRESETS:
        names, gigabytes = preset.about.split(": ")[1].split(" names, ")
        sizes = vit(None) if preset.layered else Sizes()
        assert len(list(tensor_layout(sizes))) == int(names.replace(",", ""))
        assert f"{preset.size_bytes(None) / 1e9:.1f} GB" == gigabytes
