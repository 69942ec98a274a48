"""What the authors of HyperSeg print (arXiv 2411.17606)."""

from hyperseg_runtime.families.printed import PrintedNumber, referring

PRINTED = (
    *referring("refcoco", val=0.848, testA=0.857, testB=0.834),
    *referring("refcoco+", val=0.790, testA=0.835, testB=0.752),
    *referring("refcocog", val=0.794, test=0.789),
    *referring("grefcoco", val=0.475, testA=0.573, testB=0.525),
    PrintedNumber("reasonseg", "val", "expressions, all", "miou", 0.592),
    PrintedNumber("reasonseg", "val", "expressions, all", "ciou", 0.567),
    PrintedNumber("revos", "valid", "clips, referring", "j_and_f", 0.585),
    PrintedNumber("revos", "valid", "clips, reasoning", "j_and_f", 0.530),
    PrintedNumber("ref-davis", "valid", "clips, all", "j_and_f", 0.712),
    PrintedNumber("coco-panoptic", "val", "panoptic, all", "pq", 0.612),
    PrintedNumber("coco-panoptic", "val", "semantic, all", "miou", 0.772),
    PrintedNumber("ade20k", "validation", "semantic, all", "miou", 0.223),
)
NOTE = (
    "RefCOCO's images overlap with those that the segmentation part was trained on; ReVOS's overall number is the mean "
    "of its two; Ref-DAVIS17 here scores each expression, the authors merge a video's objects into one map first; the "
    "release holds no prompt for class lists and makes no result of their scores: prompt and rules are its ancestor's"
)
