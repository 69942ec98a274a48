"""What the authors of HIPIE print of the model with ViT-H (arXiv 2307.00764)."""

from hyperseg_runtime.families.printed import PrintedNumber, referring

PRINTED = (
    *referring("refcoco", val=0.828),
    *referring("refcoco+", val=0.739),
    *referring("refcocog", val=0.757),
    PrintedNumber("coco-panoptic", "val", "panoptic, all", "pq", 0.581),
    PrintedNumber("coco-panoptic", "val", "semantic, all", "miou", 0.668),
    PrintedNumber("ade20k", "validation", "semantic, all", "miou", 0.284),
)
NOTE = (
    "ADE20K is zero-shot; lists were scored with probabilities of CLIP mixed in, which is left out here: "
    "its published code is non-commercial"
)
