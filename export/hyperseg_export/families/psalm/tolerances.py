"""How PSALM's outputs and golden arrays are judged."""

from dataclasses import replace

from hyperseg_export.families.mask_queries.tolerances import TOLERANCES as SHARED
from hyperseg_export.parity.tolerances import MASK_LOGIT

TOLERANCES = replace(SHARED, endings={**SHARED.endings, "_scores": MASK_LOGIT})
"""Scores are means of what mask logits become, over a few pixels where a mask is small."""
