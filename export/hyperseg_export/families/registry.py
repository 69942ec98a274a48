"""What the exporter needs to know of each family. A further family is a folder and one line here."""

from collections.abc import Iterable

from hyperseg_export.families.family import ExportFamily
from hyperseg_export.families.hipie.family import HIPIE
from hyperseg_export.families.hyperseg.family import HYPERSEG
from hyperseg_export.families.instructseg.family import INSTRUCTSEG
from hyperseg_export.families.psalm.family import PSALM
from hyperseg_export.families.unilseg.family import UNILSEG
from hyperseg_runtime.errors import CheckpointError

EXPORT_FAMILIES: dict[str, ExportFamily] = {
    family.name: family for family in (HYPERSEG, INSTRUCTSEG, PSALM, UNILSEG, HIPIE)
}


def detect_family(names: Iterable[str]) -> ExportFamily:
    """The family of a checkpoint with these tensor names. Raises CheckpointError naming what it looks like."""
    names = list(names)
    for family in EXPORT_FAMILIES.values():
        if any(name.startswith(family.tell_tale) for name in names):
            return family
    known = ", ".join(EXPORT_FAMILIES)
    raise CheckpointError(
        f"checkpoint: no known family: none of its {len(names)} tensors starts with "
        f"{' or '.join(f.tell_tale for f in EXPORT_FAMILIES.values())}; families known here: {known}"
    )
