"""HyperSeg, as the exporter sees it."""

from hyperseg_export.families.family import ExportFamily
from hyperseg_export.families.hyperseg.golden import verify_golden
from hyperseg_export.families.hyperseg.plan import plan
from hyperseg_export.families.hyperseg.tiny import END_OF_TEXT, SEG, write_tiny_checkpoint

HYPERSEG = ExportFamily(
    name="hyperseg",
    tell_tale="mgvp_layers.",
    special_tokens={"seg": SEG, "eos": END_OF_TEXT},
    plan=plan,
    write_tiny=write_tiny_checkpoint,
    verify_golden=verify_golden,
)
