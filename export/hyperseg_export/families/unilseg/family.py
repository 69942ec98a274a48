"""UniLSeg, as the exporter sees it."""

from hyperseg_export.families.family import ExportFamily
from hyperseg_export.families.unilseg.definition import define
from hyperseg_export.families.unilseg.golden import verify_golden
from hyperseg_export.families.unilseg.quantization import HINTS
from hyperseg_export.families.unilseg.random_models import RANDOM
from hyperseg_export.families.unilseg.synthetic import PRESET
from hyperseg_export.families.unilseg.tolerances import TOLERANCES

UNILSEG = ExportFamily(
    name="unilseg",
    tell_tale="backbone_visual.",
    define=define,
    tolerances=TOLERANCES,
    random=RANDOM,
    quantization=HINTS,
    presets=(PRESET,),
    verify_golden=verify_golden,
)
