"""HyperSeg, as the exporter sees it."""

from hyperseg_export.families.family import ExportFamily
from hyperseg_export.families.hyperseg.definition import DEFINITION
from hyperseg_export.families.hyperseg.golden import verify_golden
from hyperseg_export.families.hyperseg.quantization import HINTS
from hyperseg_export.families.hyperseg.random_models import RANDOM
from hyperseg_export.families.hyperseg.synthetic import PRESET
from hyperseg_export.families.hyperseg.tolerances import TOLERANCES

HYPERSEG = ExportFamily(
    name="hyperseg",
    tell_tale="mgvp_layers.",
    define=DEFINITION.define,
    tolerances=TOLERANCES,
    random=RANDOM,
    quantization=HINTS,
    presets=(PRESET,),
    verify_golden=verify_golden,
)
