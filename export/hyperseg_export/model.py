"""What follows from a checkpoint's config and shapes, before a weight is read."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel
from torch import nn

from hyperseg_export.checkpoint.key_map import AnyRule, KeyMap, Shape, TensorSource, apply_rules
from hyperseg_export.checkpoint.weights import Weights, checkpoint_shapes
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.families import FAMILIES

Shapes = Mapping[str, Shape]


def table_name(table: str) -> str:
    """Our name of a host table's tensor, for the rules of a key map."""
    return f"tables.{table}"


@dataclass(frozen=True)
class ModelDefinition:
    """How one checkpoint becomes graphs; its family makes it from what the checkpoint says of itself."""

    dimensions: BaseModel
    """Those of the manifest; they decide graph contracts and host tables."""
    rules: Sequence[AnyRule]
    build_graph: Callable[[str], nn.Module]
    """Graph name -> module on the meta device."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Further files of the bundle, such as a tokenizer."""


@dataclass(frozen=True)
class SourceModel:
    """Graph contracts and the weights for them."""

    family: str
    definition: ModelDefinition
    specs: tuple[GraphSpec, ...]
    tables: Mapping[str, tuple[int, int]]
    key_map: KeyMap
    weights: Weights

    @property
    def dimensions(self) -> BaseModel:
        return self.definition.dimensions

    def spec(self, graph: str) -> GraphSpec:
        return next(spec for spec in self.specs if spec.name == graph)

    def module(self, graph: str) -> nn.Module:
        """A graph's module without values, on the meta device."""
        return self.definition.build_graph(graph)


def bind_model(
    family: str, definition: ModelDefinition, source: TensorSource, extra_modules: Iterable[nn.Module] = ()
) -> SourceModel:
    """Match `source` with the definition's rules. Raises CheckpointError; reads no weight.

    `extra_modules` are modules beside the graphs' that need weights too (checks look at more than graphs).
    """
    dimensions = definition.dimensions.model_dump()
    specs = FAMILIES[family].graph_specs(dimensions)
    tables = FAMILIES[family].tables(dimensions)
    modules = [*(definition.build_graph(spec.name) for spec in specs), *extra_modules]
    targets = {**checkpoint_shapes(modules), **{table_name(name): shape for name, shape in tables.items()}}
    key_map = apply_rules(definition.rules, source.shapes, targets)
    return SourceModel(family, definition, specs, tables, key_map, Weights(source, key_map))
