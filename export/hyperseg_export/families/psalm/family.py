"""PSALM, as the exporter sees it."""

from hyperseg_export.families.family import ExportFamily
from hyperseg_export.families.psalm.definition import define
from hyperseg_export.families.psalm.golden import verify_golden
from hyperseg_export.families.psalm.quantization import HINTS
from hyperseg_export.families.psalm.random_models import NOTES, random_model, write_random
from hyperseg_export.families.psalm.synthetic import PRESET
from hyperseg_export.families.psalm.tolerances import TOLERANCES

PSALM = ExportFamily(
    name="psalm",
    tell_tale="model.mm_projector.layer1.",
    define=define,
    tolerances=TOLERANCES,
    write_random=write_random,
    random_model=random_model,
    size_notes=NOTES,
    quantization=HINTS,
    presets=(PRESET,),
    verify_golden=verify_golden,
)
