"""InstructSeg, as the exporter sees it."""

from hyperseg_export.families.family import ExportFamily
from hyperseg_export.families.instructseg.definition import DEFINITION
from hyperseg_export.families.instructseg.golden import verify_golden
from hyperseg_export.families.instructseg.quantization import HINTS
from hyperseg_export.families.instructseg.random_models import RANDOM
from hyperseg_export.families.instructseg.synthetic import PRESET
from hyperseg_export.families.instructseg.tolerances import TOLERANCES

INSTRUCTSEG = ExportFamily(
    name="instructseg",
    tell_tale="ovp_layers.",
    define=DEFINITION.define,
    tolerances=TOLERANCES,
    random=RANDOM,
    quantization=HINTS,
    presets=(PRESET,),
    verify_golden=verify_golden,
)
