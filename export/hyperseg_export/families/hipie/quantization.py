"""What HIPIE's graphs ask for when they are quantised."""

from hyperseg_export.families.family import QuantizationHints
from hyperseg_runtime.contracts.requests import Classes, Expressions
from hyperseg_runtime.families.hipie.tasks import Task

HINTS = QuantizationHints(
    requests=(Expressions(("the object",)), Classes(("object", "ground"), Task.PANOPTIC.value, things=(True, False)))
)
