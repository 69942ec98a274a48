"""From an InstructSeg checkpoint to a ModelDefinition."""

from hyperseg_export.families.instructseg.config import InstructsegConfig
from hyperseg_export.families.instructseg.graphs import build_graph
from hyperseg_export.families.instructseg.key_map import rules
from hyperseg_export.families.mask_queries.definition import MaskQueryDefinition

DEFINITION = MaskQueryDefinition("instructseg", InstructsegConfig.from_checkpoint, rules, build_graph)
