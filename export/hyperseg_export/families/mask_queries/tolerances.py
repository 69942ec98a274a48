"""How outputs and golden arrays of these families are judged."""

from hyperseg_export.parity.tolerances import MASK_LOGIT, PREPROCESSING, QUERY_NUMBER, Tolerances

MASKS = ("mask_logits", "pred_masks", "aux_pred_masks")
INPUTS = ("in_images", "in_images_clip", "_swin_sub8", "_swin_corner", "_siglip_sub4", "_siglip_corner")
PER_QUERY = ("pred_boxious", "pred_SEG_logits", "score_logits", "class_logits", "region_logits")

TOLERANCES = Tolerances(
    endings={
        **dict.fromkeys(INPUTS, PREPROCESSING),
        **dict.fromkeys(MASKS, MASK_LOGIT),
        **dict.fromkeys(PER_QUERY, QUERY_NUMBER),
    },
    masks=dict.fromkeys(MASKS, 0.0),
    choices={"logits": -1, "score_logits": 1, "region_logits": 1},  # tokens, mask queries
    queries=dict.fromkeys(("mask_logits", "score_logits", "class_logits", "region_logits"), 1),
)
