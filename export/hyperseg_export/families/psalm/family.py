"""PSALM, as the exporter sees it."""

from hyperseg_export.families.family import ExportFamily
from hyperseg_export.families.psalm.definition import DEFINITION
from hyperseg_export.families.psalm.golden import verify_golden
from hyperseg_export.families.psalm.quantization import HINTS
from hyperseg_export.families.psalm.random_models import RANDOM
from hyperseg_export.families.psalm.synthetic import PRESET
from hyperseg_export.families.psalm.tolerances import TOLERANCES

PSALM = ExportFamily(
    name="psalm",
    tell_tale="model.mm_projector.layer1.",
    define=DEFINITION.define,
    tolerances=TOLERANCES,
    random=RANDOM,
    quantization=HINTS,
    presets=(PRESET,),
    verify_golden=verify_golden,
)
