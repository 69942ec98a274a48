"""How HIPIE's outputs and golden arrays are judged."""

from hyperseg_export.parity.tolerances import MASK_LOGIT, QUERY_NUMBER, Tolerances

FINAL_BOX = 5e-6
"""Boxes in units of the longer side of an image of up to 200 px: a thousandth of a pixel."""

DETECTED = ("states", "boxes", "iou_logits", "mask_parameters", "centres")
"""Outputs of `detr`: proposals get its queries in the order of their scores."""
VECTORS = ("vectors", "vector_masks", "vector_boxes")
"""Those of `mask_dino`, likewise."""

TOLERANCES = Tolerances(
    endings={
        "mask_logits": MASK_LOGIT,
        "vector_masks": MASK_LOGIT,
        "_masks": MASK_LOGIT,
        "word_logits": MASK_LOGIT,
        "iou_logits": QUERY_NUMBER,
        "pred_logits": MASK_LOGIT,
        "pred_logits_maskdino": MASK_LOGIT,
        "class_logits_fg0": MASK_LOGIT,
        "class_logits_bg0": MASK_LOGIT,
        # A softmax of sigmoids over 0.06 makes about four times as much of what these logits differ by (hipie-spec 18).
        "pano_class_prob0": MASK_LOGIT,
        "final_boxes0": FINAL_BOX,
        "final_boxes1": FINAL_BOX,
    },
    masks={"mask_logits": 0.0, "vector_masks": 0.0},
    queries=dict.fromkeys((*DETECTED, *VECTORS), 1),
)
