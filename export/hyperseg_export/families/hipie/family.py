"""HIPIE, as the exporter sees it."""

from hyperseg_export.families.family import ExportFamily
from hyperseg_export.families.hipie.definition import define
from hyperseg_export.families.hipie.golden import verify_golden
from hyperseg_export.families.hipie.quantization import HINTS
from hyperseg_export.families.hipie.random_models import NOTES, random_model, write_random
from hyperseg_export.families.hipie.synthetic import PRESETS
from hyperseg_export.families.hipie.tolerances import TOLERANCES

HIPIE = ExportFamily(
    name="hipie",
    tell_tale="detr.mask_dino.",
    define=define,
    tolerances=TOLERANCES,
    write_random=write_random,
    random_model=random_model,
    size_notes=NOTES,
    quantization=HINTS,
    presets=PRESETS,
    verify_golden=verify_golden,
)
