"""From a UniLSeg checkpoint's shapes to a ModelPlan."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from hyperseg_export.checkpoint.key_map import TensorSource, apply_rules
from hyperseg_export.checkpoint.weights import Weights, checkpoint_shapes
from hyperseg_export.families.unilseg.config import UnilsegConfig
from hyperseg_export.families.unilseg.graphs import build_graph
from hyperseg_export.families.unilseg.key_map import rules
from hyperseg_export.model import ModelPlan, PlannedModel, Shapes
from hyperseg_runtime.families.unilseg.spec import graph_specs


def plan(config_json: Mapping[str, Any], shapes: Shapes) -> ModelPlan:
    """Raises CheckpointError where config and shapes disagree."""
    return plan_of(UnilsegConfig.from_checkpoint(config_json, shapes))


def plan_of(config: UnilsegConfig) -> ModelPlan:
    return ModelPlan(
        rules=rules(config),
        build_graph=lambda name: build_graph(name, config),
        tables={},
        dimensions=lambda token_ids: config.dimensions(),
    )


def planned_model(config: UnilsegConfig, source: TensorSource, extra_modules: Iterable[nn.Module] = ()) -> PlannedModel:
    """Match `source` with the rules. Raises CheckpointError; reads no weight."""
    model_plan, dimensions = plan_of(config), config.dimensions()
    specs = graph_specs(dimensions)
    modules = [*(model_plan.build_graph(spec.name) for spec in specs), *extra_modules]
    key_map = apply_rules(model_plan.rules, source.shapes, checkpoint_shapes(modules))
    return PlannedModel("unilseg", model_plan, dimensions, specs, key_map, Weights(source, key_map))
