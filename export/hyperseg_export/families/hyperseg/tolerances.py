"""HyperSeg's tolerances are those of its line of models."""

from hyperseg_export.families.mask_queries.tolerances import TOLERANCES as TOLERANCES
