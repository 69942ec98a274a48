"""Model families by name. A further family is a folder with the same file names and one line here."""

from hyperseg_runtime.families.family import FamilySpec
from hyperseg_runtime.families.hipie.family import FAMILY as HIPIE
from hyperseg_runtime.families.hyperseg.family import FAMILY as HYPERSEG
from hyperseg_runtime.families.instructseg.family import FAMILY as INSTRUCTSEG
from hyperseg_runtime.families.psalm.family import FAMILY as PSALM
from hyperseg_runtime.families.unilseg.family import FAMILY as UNILSEG

FAMILIES: dict[str, FamilySpec] = {family.name: family for family in (HYPERSEG, INSTRUCTSEG, PSALM, UNILSEG, HIPIE)}
