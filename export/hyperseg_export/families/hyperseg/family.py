"""HyperSeg, as the exporter sees it."""

from hyperseg_export.families.family import ExportFamily
from hyperseg_export.families.hyperseg.definition import define
from hyperseg_export.families.hyperseg.golden import verify_golden
from hyperseg_export.families.hyperseg.quantization import HINTS
from hyperseg_export.families.hyperseg.random_models import NOTES, random_model, write_random
from hyperseg_export.families.hyperseg.synthetic import PRESET
from hyperseg_export.families.hyperseg.tolerances import TOLERANCES

HYPERSEG = ExportFamily(
    name="hyperseg",
    tell_tale="mgvp_layers.",
    define=define,
    tolerances=TOLERANCES,
    write_random=write_random,
    random_model=random_model,
    size_notes=NOTES,
    quantization=HINTS,
    presets=(PRESET,),
    verify_golden=verify_golden,
)
