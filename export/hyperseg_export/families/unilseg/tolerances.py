"""How UniLSeg's outputs and golden arrays are judged."""

from hyperseg_export.parity.tolerances import MASK_LOGIT, PREPROCESSING, Tolerances
from hyperseg_runtime.heads.binary import THRESHOLD

TOLERANCES = Tolerances(
    endings={"mask_logits": MASK_LOGIT, "img": PREPROCESSING, "_img_sub12": PREPROCESSING},
    masks={"probabilities": THRESHOLD},
)
