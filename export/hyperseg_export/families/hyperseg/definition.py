"""From a HyperSeg checkpoint to a ModelDefinition."""

from hyperseg_export.families.hyperseg.config import HypersegConfig
from hyperseg_export.families.hyperseg.graphs import build_graph
from hyperseg_export.families.hyperseg.key_map import rules
from hyperseg_export.families.mask_queries.definition import MaskQueryDefinition

DEFINITION = MaskQueryDefinition("hyperseg", HypersegConfig.from_checkpoint, rules, build_graph)
