"""What the authors of PSALM print (arXiv 2403.14598)."""

from hyperseg_runtime.families.printed import PrintedNumber, referring

PRINTED = (
    *referring("refcoco", val=0.836, testA=0.847, testB=0.816),
    *referring("refcoco+", val=0.729, testA=0.755, testB=0.701),
    *referring("refcocog", val=0.738, test=0.744),
    *referring("grefcoco", val=0.420, testA=0.524, testB=0.506),
    PrintedNumber("coco-panoptic", "val", "panoptic, all", "pq", 0.559),
    PrintedNumber("coco-panoptic", "val", "semantic, all", "miou", 0.666),
    PrintedNumber("ade20k", "validation", "semantic, all", "miou", 0.182),
)
NOTE = (
    "gRefCOCO and ADE20K are zero-shot; RefCOCO's images overlap with those that the segmentation part was trained on; "
    "the class names of the open-vocabulary numbers come from files that are not part of the release"
)
