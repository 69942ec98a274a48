"""From a PSALM checkpoint to a ModelDefinition."""

from hyperseg_export.families.mask_queries.definition import MaskQueryDefinition
from hyperseg_export.families.psalm.config import PsalmConfig
from hyperseg_export.families.psalm.graphs import build_graph
from hyperseg_export.families.psalm.key_map import rules

DEFINITION = MaskQueryDefinition("psalm", PsalmConfig.from_checkpoint, rules, build_graph)
