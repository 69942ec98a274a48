"""HIPIE, as the exporter sees it."""

from hyperseg_export.families.family import ExportFamily
from hyperseg_export.families.hipie.definition import define
from hyperseg_export.families.hipie.golden import verify_golden
from hyperseg_export.families.hipie.quantization import HINTS
from hyperseg_export.families.hipie.random_models import RANDOM
from hyperseg_export.families.hipie.synthetic import PRESETS
from hyperseg_export.families.hipie.tolerances import TOLERANCES

HIPIE = ExportFamily(
    name="hipie",
    tell_tale="detr.mask_dino.",
    define=define,
    tolerances=TOLERANCES,
    random=RANDOM,
    quantization=HINTS,
    presets=PRESETS,
    verify_golden=verify_golden,
)
