"""From a HyperSeg checkpoint's config and shapes to a ModelPlan."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from hyperseg_export.families.hyperseg.config import HypersegConfig
from hyperseg_export.families.hyperseg.graphs import build_graph
from hyperseg_export.families.hyperseg.key_map import rules
from hyperseg_export.model import ModelPlan, Shapes


def plan(config_json: Mapping[str, Any], shapes: Shapes, context: int | None = None) -> ModelPlan:
    """Raises CheckpointError where config and shapes disagree, or no prompt fits into `context` cache slots."""
    config = HypersegConfig.from_checkpoint(config_json, shapes, context)
    config.check_context()
    return plan_of(config)


def plan_of(config: HypersegConfig) -> ModelPlan:

    def dimensions(token_ids: Mapping[str, int]) -> BaseModel:
        return config.dimensions(token_ids["seg"], token_ids["eos"])

    return ModelPlan(
        rules=rules(config),
        build_graph=lambda name: build_graph(name, config),
        tables={
            "embeddings.tokens": (config.token_rows, config.phi.width),
            "embeddings.mask_queries": (config.mask_decoder.queries, config.phi.width),
            "embeddings.latents": (config.fvp.queries, config.fvp.width),
        },
        dimensions=dimensions,
    )
