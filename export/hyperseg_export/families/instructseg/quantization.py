"""What InstructSeg's graphs ask for when they are quantised."""

from hyperseg_export.families.family import QuantizationHints
from hyperseg_runtime.contracts.requests import Expressions, Question

HINTS = QuantizationHints(
    requests=(Expressions(("the object",)), Question("What is there?", max_tokens=4)),
)
