"""InstructSeg, as the exporter sees it."""

from hyperseg_export.families.family import ExportFamily
from hyperseg_export.families.instructseg.definition import define
from hyperseg_export.families.instructseg.golden import verify_golden
from hyperseg_export.families.instructseg.quantization import HINTS
from hyperseg_export.families.instructseg.random_models import NOTES, random_model, write_random
from hyperseg_export.families.instructseg.synthetic import PRESET
from hyperseg_export.families.instructseg.tolerances import TOLERANCES

INSTRUCTSEG = ExportFamily(
    name="instructseg",
    tell_tale="ovp_layers.",
    define=define,
    tolerances=TOLERANCES,
    write_random=write_random,
    random_model=random_model,
    size_notes=NOTES,
    quantization=HINTS,
    presets=(PRESET,),
    verify_golden=verify_golden,
)
