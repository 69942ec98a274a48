"""Every tensor of the published checkpoints has one fate, and any other checkpoint is refused by name."""

import math

import pytest
import torch

from hipie_support import RandomTensors, alias_groups, published, published_config, published_vit
from hyperseg_export.checkpoint.key_map import KeyMap, apply_rules, check_equal
from hyperseg_export.checkpoint.weights import checkpoint_shapes
from hyperseg_export.families.hipie.config import HipieConfig
from hyperseg_export.families.hipie.graphs import GRAPHS, build_graph
from hyperseg_export.families.hipie.key_map import CRITERION, EARLIER_HEAD, RESIZER, rules
from hyperseg_runtime.errors import CheckpointError
from key_maps import Shapes, used_by

MODELS = {"r50": published, "vit": published_vit}


def matched(shapes: Shapes, config: HipieConfig | None = None) -> KeyMap:
    config = config or published_config(shapes)
    modules = [build_graph(name, config) for name in GRAPHS]
    return apply_rules(rules(config), shapes, checkpoint_shapes(modules))


@pytest.mark.parametrize("model", MODELS)
def test_every_published_tensor_is_used_checked_or_dropped(model: str) -> None:
    shapes = MODELS[model]()
    key_map = matched(shapes)
    used, dropped, checked = used_by(key_map), set(key_map.dropped), set(key_map.checked)
    assert used | dropped | checked == set(shapes)
    assert not (used & dropped or used & checked or dropped & checked)


def test_as_many_names_as_published() -> None:
    """hipie-spec 16."""
    assert len(published()) == 1438
    assert len([name for name in published_vit() if ".backbone." in name]) == 453
    assert len(alias_groups()) == 82


def test_all_names_of_a_tensor_but_one_are_checked() -> None:
    """And what they are checked with is of the same group."""
    key_map = matched(published())
    for group in alias_groups():
        checked = {name for name in group if name in key_map.checked}
        (original,) = set(group) - checked
        assert original in used_by(key_map) | set(key_map.dropped)
        assert {getattr(key_map.checked[name], "original", None) for name in checked} == {original}
    assert len(key_map.checked) == sum(len(group) - 1 for group in alias_groups())


def test_what_is_dropped_and_why() -> None:
    dropped = matched(published()).dropped
    assert set(dropped.values()) == {EARLIER_HEAD, RESIZER, CRITERION}
    kept = [name for name in published() if name not in dropped]
    assert {"detr.detr.class_embed.5.log_scale", "detr.mask_dino_cls_embed.10.bias0"} <= set(kept)
    assert "detr.detr.class_embed.6.body.weight" in kept
    assert sum(math.prod(published()[name]) for name in dropped) < 5e6


def test_a_second_name_with_other_values_is_refused() -> None:
    shapes = {name: tuple(min(extent, 4) for extent in shape) for name, shape in published().items()}
    same = {name: group[-1] for group in alias_groups() for name in group}
    key_map = matched(published())
    check_equal(key_map, RandomTensors(shapes, same))
    wrong = "detr.mask_dino.predictor.decoder.bbox_embed.7.layers.1.weight"
    del same[wrong]
    with pytest.raises(CheckpointError, match=r"predictor\.decoder\.bbox_embed\.7\.layers\.1\.weight: not the same as"):
        check_equal(key_map, RandomTensors(shapes, same))


def test_a_second_name_without_the_first_is_refused() -> None:
    first = "detr.mask_dino.predictor._bbox_embed.layers.0.bias"
    shapes = {name: shape for name, shape in published().items() if name != first}
    with pytest.raises(CheckpointError, match=r"is another name of detr\.mask_dino\.predictor\._bbox_embed"):
        matched(shapes)


def test_a_missing_or_added_tensor_is_named() -> None:
    shapes, config = published(), published_config()
    for name in sorted(used_by(matched(shapes)) - {group[-1] for group in alias_groups()})[::101]:
        if any(name in group for group in alias_groups()):
            continue
        with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
            matched({other: shape for other, shape in shapes.items() if other != name}, config)
    with pytest.raises(CheckpointError, match=r"detr\.detr\.query_embed\.weight"):
        matched({**shapes, "detr.detr.query_embed.weight": (900, 256)}, config)


def test_names_are_read_in_the_order_of_use() -> None:
    origins = matched(published()).origins
    decoder = "detr.detr.transformer.decoder.layers.2"
    assert origins["detr.decoder.layers.2.norm1.weight"].sources == (f"{decoder}.norm2.weight",)
    assert origins["detr.decoder.layers.2.norm2.weight"].sources == (f"{decoder}.norm1.weight",)
    packed = torch.randn(3 * 256, 256)
    for part, name in enumerate(("query", "key", "value")):
        origin = origins[f"mask_dino.decoder.layers.8.self_attention.{name}.weight"]
        assert torch.equal(origin.transform(packed), packed[256 * part : 256 * (part + 1)])
