"""What follows from a checkpoint's config and shapes, before a weight is read."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel
from torch import nn

from hyperseg_export.checkpoint.key_map import AnyRule, KeyMap, Shape, TensorSource, apply_rules
from hyperseg_export.checkpoint.weights import Weights, checkpoint_shapes
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.families import FAMILIES

Shapes = Mapping[str, Shape]


@dataclass(frozen=True)
class ModelPlan:
    """How one checkpoint becomes graphs; a family makes it from config and shapes."""

    rules: Sequence[AnyRule]
    build_graph: Callable[[str], nn.Module]
    """Graph name -> module on the meta device."""
    tables: Shapes
    """Host tables: our name -> shape."""
    dimensions: Callable[[Mapping[str, int]], BaseModel]
    """Special token ids -> the dimensions of the manifest."""


@dataclass(frozen=True)
class PlannedModel:
    """Graph contracts and the weights for them; `dimensions` are the manifest's."""

    family: str
    plan: ModelPlan
    dimensions: BaseModel
    specs: tuple[GraphSpec, ...]
    key_map: KeyMap
    weights: Weights

    def spec(self, graph: str) -> GraphSpec:
        return next(spec for spec in self.specs if spec.name == graph)

    def module(self, graph: str) -> nn.Module:
        """A graph's module without values, on the meta device."""
        return self.plan.build_graph(graph)


def plan_model(
    family: str,
    plan: ModelPlan,
    source: TensorSource,
    special_ids: Mapping[str, int],
    extra_modules: Iterable[nn.Module] = (),
) -> PlannedModel:
    """Match `source` with the plan's rules. Raises CheckpointError; reads no weight.

    `extra_modules` are modules beside the graphs' that need weights too (checks look at more than graphs).
    """
    dimensions = plan.dimensions(special_ids)
    specs = FAMILIES[family].graph_specs(dimensions.model_dump())
    modules = [*(plan.build_graph(spec.name) for spec in specs), *extra_modules]
    targets = {**checkpoint_shapes(modules), **plan.tables}
    key_map = apply_rules(plan.rules, source.shapes, targets)
    return PlannedModel(family, plan, dimensions, specs, key_map, Weights(source, key_map))
