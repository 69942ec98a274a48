"""Model families by name. A further family is a folder with the same file names and one line here."""

from hyperseg_runtime.families.hyperseg.model import FAMILY as HYPERSEG

FAMILIES = {family.name: family for family in (HYPERSEG,)}
