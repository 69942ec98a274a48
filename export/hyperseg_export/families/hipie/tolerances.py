"""How HIPIE's outputs and golden arrays are judged."""

from hyperseg_export.parity.tolerances import MASK_LOGIT, Tolerances

TOLERANCES = Tolerances(
    endings={
        "mask_logits": MASK_LOGIT,
        "vector_masks": MASK_LOGIT,
        "_masks": MASK_LOGIT,
        "word_logits": MASK_LOGIT,
        "pred_logits": MASK_LOGIT,
        "pred_logits_maskdino": MASK_LOGIT,
    },
    masks={"mask_logits": 0.0, "vector_masks": 0.0},
)
