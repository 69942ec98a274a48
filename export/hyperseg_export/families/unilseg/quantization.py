"""What UniLSeg's graphs ask for when they are quantised."""

from hyperseg_export.families.family import QuantizationHints
from hyperseg_runtime.contracts.requests import Expressions

HINTS = QuantizationHints(requests=(Expressions(("the object",)),))
