"""Modules that say of themselves that they stay float32, and what an export makes of it."""

import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module

import pytest
import torch
from torch import Tensor, nn

from hyperseg_export import modules
from hyperseg_export.modules.islands import LOW, Island, island_of
from hyperseg_export.modules.norms import SUMS, GroupNorm, LayerNorm
from hyperseg_export.precision.typed import apply_precision, enclosing_island, island_paths
from hyperseg_runtime.contracts.graph_spec import DType, GraphSpec, Reuse, TensorSpec
from hyperseg_runtime.contracts.precision import Precision


class Sums(nn.Linear):
    island = Island("sums", frozenset({Precision.FP16}))


class Wide(nn.Linear):
    island = Island("decides", stays_wide=True)


class Written(nn.Linear):
    island = Island("has no kernel", written_as=lambda given: Wide(given.in_features, given.out_features))


class Part(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.plain, self.sums, self.wide = nn.Linear(4, 4), Sums(4, 4), Wide(4, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        between = self.sums(self.plain(x))
        return between, self.wide(between)


SPEC = GraphSpec(
    name="g",
    inputs=(TensorSpec(name="x", dtype=DType.FLOAT32, axes=(2, 4)),),
    outputs=tuple(TensorSpec(name=name, dtype=DType.FLOAT32, axes=(2, 4)) for name in ("between", "logits")),
    axis_ranges={},
    reuse=Reuse.IMAGE,
)


@pytest.mark.parametrize(
    ("module", "precision", "island"),
    [
        (Sums(2, 2), Precision.FP16, Sums.island),
        (Sums(2, 2), Precision.BF16, None),
        (Wide(2, 2), Precision.BF16, Wide.island),
        (Wide(2, 2), Precision.FP32, None),
        (nn.Linear(2, 2), Precision.FP16, None),
        (LayerNorm(4), Precision.BF16, SUMS),
        (GroupNorm(2, 4), Precision.FP16, SUMS),
        (nn.LayerNorm(4), Precision.FP16, None),
    ],
    ids=lambda value: value.reason if isinstance(value, Island) else str(value),
)
def test_an_island_holds_for_the_precisions_it_names(
    module: nn.Module, precision: Precision, island: Island | None
) -> None:
    assert island_of(module, precision) is island


def test_something_else_of_that_name_is_no_island() -> None:
    module = nn.Linear(2, 2)
    module.island = Wide.island  # an instance says nothing: its class does
    assert island_of(module, Precision.FP16) is None

    class Named(nn.Linear):
        island = "Corsica"

    assert island_of(Named(2, 2), Precision.FP16) is None


def test_a_subclass_inherits_its_island() -> None:
    class Wider(Wide):
        pass

    assert island_of(Wider(2, 2), Precision.FP16) is Wide.island


def test_islands_are_found_by_path_and_hold_what_lies_in_them() -> None:
    whole = nn.Sequential(Part(), Wide(4, 4))
    islands = island_paths(whole, Precision.FP16)
    assert islands == {"0.sums": Sums.island, "0.wide": Wide.island, "1": Wide.island}
    assert enclosing_island("0.wide.inner", islands) is Wide.island
    assert enclosing_island("0.wider", islands) is enclosing_island("0", islands) is None


@pytest.mark.parametrize(("precision", "narrow"), [(Precision.FP16, torch.float16), (Precision.BF16, torch.bfloat16)])
def test_a_typed_module_computes_each_part_in_its_type(precision: Precision, narrow: torch.dtype) -> None:
    part = apply_precision(Part(), SPEC, precision)
    seen: dict[str, tuple[torch.dtype, torch.dtype]] = {}
    for name, child in part.named_children():
        child.register_forward_hook(
            lambda module, given, made, name=name: seen.__setitem__(name, (module.weight.dtype, made.dtype))
        )
    outputs = part(torch.randn(2, 4))
    sums = (torch.float32, narrow) if precision is Precision.FP16 else (narrow, narrow)
    assert seen == {"plain": (narrow, narrow), "sums": sums, "wide": (torch.float32, torch.float32)}
    assert [output.dtype for output in outputs] == [torch.float32, torch.float32]  # the contract's


def test_a_module_that_has_no_kernel_is_written_as_another() -> None:
    whole = nn.Sequential(Written(4, 4))
    spec = SPEC.model_copy(update={"outputs": SPEC.outputs[:1]})
    typed = apply_precision(whole, spec, Precision.FP16)
    assert isinstance(typed, nn.Sequential) and type(typed[0]) is Wide
    assert type(nn.Sequential(Written(4, 4))[0]) is Written


def test_float32_changes_nothing() -> None:
    part = Part()
    assert apply_precision(part, SPEC, Precision.FP32) is part
    assert {parameter.dtype for parameter in part.parameters()} == {torch.float32}


def declared() -> Iterator[type[nn.Module]]:
    """Classes of ours that write down an island, not those that inherit one."""
    for found in pkgutil.iter_modules(modules.__path__, f"{modules.__name__}."):
        for _, kind in inspect.getmembers(import_module(found.name), inspect.isclass):
            if kind.__module__ == found.name and "island" in vars(kind):
                yield kind


@pytest.mark.parametrize("kind", list(declared()), ids=lambda kind: kind.__name__)
def test_every_island_is_a_module_with_a_reason_and_no_stack_of_layers(kind: type[nn.Module]) -> None:
    """An island that held them would undo the precision of the graph."""
    island = vars(kind)["island"]
    assert isinstance(island, Island) and island.reason and island.precisions and island.precisions <= LOW
    assert issubclass(kind, nn.Module) and "ModuleList(" not in inspect.getsource(kind)


def test_our_graphs_normalise_with_the_norms_that_say_so() -> None:
    """torch's own would be computed in the type of the graph."""
    for found in pkgutil.iter_modules(modules.__path__, f"{modules.__name__}."):
        source = inspect.getsource(import_module(found.name))
        if not found.name.endswith(".norms"):
            assert "nn.LayerNorm(" not in source and "nn.GroupNorm(" not in source, found.name
