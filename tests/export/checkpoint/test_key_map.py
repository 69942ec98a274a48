"""Rules over names: every checkpoint tensor and every target is accounted for, or named."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hyperseg_export.checkpoint.key_map import (
    AnyRule,
    Drop,
    KeyMap,
    MustEqual,
    Rule,
    SameAs,
    apply_rules,
    check_equal,
    pack,
)
from hyperseg_runtime.errors import CheckpointError

RULES: tuple[AnyRule, ...] = (
    Rule("layers.{i}.qkv.{p}", ("h.{i}.q.{p}", "h.{i}.k.{p}", "h.{i}.v.{p}"), pack, unused="later layer"),
    Rule("layers.{i}.parts.{j}.scale", ("h.{i}.g.{j}.scale",)),
    Rule("half.first", ("packed",), lambda x: x.chunk(2)[0]),
    Rule("half.second", ("packed",), lambda x: x.chunk(2)[1]),
    Drop("junk.{i}.{p}", "never read"),
    MustEqual("index", lambda shape: torch.arange(shape[0]), "not a count"),
)
SHAPES = {
    **{f"h.{i}.{letter}.weight": (2, 3) for i in (0, 1) for letter in "qkv"},
    **{f"h.{i}.{letter}.bias": (2,) for i in (0, 1) for letter in "qkv"},
    "h.0.g.12.scale": (5,),
    "packed": (4, 3),
    "junk.3.weight": (1,),
    "index": (3,),
}
TARGETS = {
    "layers.0.qkv.weight": (6, 3),
    "layers.0.qkv.bias": (6,),
    "layers.0.parts.12.scale": (5,),
    "half.first": (2, 3),
    "half.second": (2, 3),
}


def test_every_name_gets_one_fate() -> None:
    found = apply_rules(RULES, SHAPES, TARGETS)
    assert found.origins.keys() == TARGETS.keys()
    assert found.origins["layers.0.qkv.bias"].sources == ("h.0.q.bias", "h.0.k.bias", "h.0.v.bias")
    assert found.origins["layers.0.parts.12.scale"].sources == ("h.0.g.12.scale",)
    assert found.dropped == {"junk.3.weight": "never read", **dict.fromkeys(layer_one(), "later layer")}
    assert found.checked.keys() == {"index"}
    used = {source for origin in found.origins.values() for source in origin.sources}
    assert used | found.dropped.keys() | found.checked.keys() == SHAPES.keys()


def test_one_tensor_may_feed_several_targets() -> None:
    found = apply_rules(RULES, SHAPES, TARGETS)
    packed = torch.randn(4, 3)
    assert torch.equal(found.origins["half.first"].transform(packed), packed[:2])
    assert torch.equal(found.origins["half.second"].transform(packed), packed[2:])


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(sorted(set(SHAPES) - {"index", "junk.3.weight"} - {n for n in SHAPES if n.startswith("h.1.")})))
def test_a_missing_source_is_named(name: str) -> None:
    shapes = {other: shape for other, shape in SHAPES.items() if other != name}
    with pytest.raises(CheckpointError, match="missing from the checkpoint") as error:
        apply_rules(RULES, shapes, TARGETS)
    assert name in str(error.value)


@pytest.mark.parametrize("name", ["other", "h.0.q.gain", "h.x.q.weight", "h.0.q.weight.more", "my.h.0.q.weight"])
def test_an_unknown_name_is_named(name: str) -> None:
    with pytest.raises(CheckpointError, match="not known to this family") as error:
        apply_rules(RULES, {**SHAPES, name: (1,)}, TARGETS)
    assert name in str(error.value)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("h.0.k.weight", (2, 4)), ("h.0.q.bias", (3,)), ("h.0.v.weight", (2,)), ("packed", ()), ("packed", (4, 3, 1))],
)
def test_a_wrong_shape_is_named_with_what_was_expected(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(CheckpointError, match="of the wrong shape") as error:
        apply_rules(RULES, {**SHAPES, name: shape}, TARGETS)
    assert name in str(error.value)
    assert str(shape) in str(error.value)


def test_a_tensor_whose_target_does_not_exist_is_an_error() -> None:
    with pytest.raises(CheckpointError, match=r"h.7.g.0.scale belongs to layers.7.parts.0.scale"):
        apply_rules(RULES, {**SHAPES, "h.7.g.0.scale": (5,)}, TARGETS)


def test_a_target_that_no_rule_makes_is_an_error() -> None:
    with pytest.raises(CheckpointError, match=r"\(no rule\) new.weight"):
        apply_rules(RULES, SHAPES, {**TARGETS, "new.weight": (1,)})


def test_only_the_first_five_are_listed() -> None:
    extra = {f"extra.{index}": (1,) for index in range(8)}
    with pytest.raises(CheckpointError, match=r"8 tensor\(s\)") as error:
        apply_rules(RULES, {**SHAPES, **extra}, TARGETS)
    assert "extra.4" in str(error.value)
    assert "extra.5" not in str(error.value)
    assert str(error.value).endswith("and 3 more")


def test_dots_in_a_rule_are_dots() -> None:
    with pytest.raises(CheckpointError, match="hX0Xq"):
        apply_rules(RULES, {**SHAPES, "hX0XqXweight": (2, 3)}, TARGETS)


@pytest.mark.parametrize("stored", [torch.tensor([0, 1, 2]), torch.tensor([0, 1, 2], dtype=torch.int32)])
def test_a_stored_buffer_with_the_expected_value_passes(stored: Tensor) -> None:
    check_equal(checked_index(), Source({"index": stored}))


@pytest.mark.parametrize("stored", [torch.tensor([0, 1, 3]), torch.tensor([[0, 1, 2]])])
def test_a_stored_buffer_with_another_value_is_named_with_the_reason(stored: Tensor) -> None:
    with pytest.raises(CheckpointError, match="index: not a count"):
        check_equal(checked_index(), Source({"index": stored}))


class Source:
    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors
        self.shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}

    def tensor(self, name: str) -> Tensor:
        return self.tensors[name]


def checked_index() -> KeyMap:
    return apply_rules(RULES[-1:], {"index": (3,)}, {})


def layer_one() -> list[str]:
    return [name for name in SHAPES if name.startswith("h.1.")]


class InMemory:
    """A checkpoint of these tensors."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors
        self.shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}

    def tensor(self, name: str) -> Tensor:
        return self.tensors[name]


def test_two_names_of_one_tensor_are_compared_with_each_other() -> None:
    rules: tuple[AnyRule, ...] = (Rule("a.{p}", ("first.{p}",)), SameAs("second.{i}.{p}", "first.{p}"))
    tensors = {"first.weight": torch.randn(2, 3), "second.4.weight": torch.randn(2, 3)}

    source = InMemory(tensors)
    found = apply_rules(rules, source.shapes, {"a.weight": (2, 3)})
    assert found.checked == {"second.4.weight": SameAs("second.4.weight", "first.weight")}
    with pytest.raises(CheckpointError, match=r"second\.4\.weight: not the same as first\.weight"):
        check_equal(found, source)
    tensors["second.4.weight"] = tensors["first.weight"].clone()
    check_equal(found, source)
    with pytest.raises(CheckpointError, match=r"second\.4\.weight is another name of first\.weight, which is missing"):
        apply_rules(rules, {"second.4.weight": (2, 3)}, {})
