"""What PSALM's graphs ask for when they are quantised."""

from hyperseg_export.families.family import QuantizationHints
from hyperseg_runtime.contracts.requests import Classes, Expressions

HINTS = QuantizationHints(
    requests=(Expressions(("the object",)), Classes(("person", "dog", "chair", "grass", "sky"))),
)
