"""What the authors of InstructSeg print (arXiv 2412.14006)."""

from hyperseg_runtime.families.printed import PrintedNumber, referring

PRINTED = (
    *referring("refcoco", val=0.858, testA=0.866, testB=0.840),
    *referring("refcoco+", val=0.801, testA=0.838, testB=0.756),
    *referring("refcocog", val=0.793, test=0.803),
    PrintedNumber("reasonseg", "val", "expressions, all", "miou", 0.619),
    PrintedNumber("reasonseg", "val", "expressions, all", "ciou", 0.652),
    PrintedNumber("revos", "valid", "clips, referring", "j_and_f", 0.570),
    PrintedNumber("revos", "valid", "clips, reasoning", "j_and_f", 0.519),
    PrintedNumber("ref-davis", "valid", "clips, all", "j_and_f", 0.711),
)
NOTE = (
    "RefCOCO's images overlap with those that the segmentation part was trained on; ReVOS's overall number is the mean "
    "of its two; Ref-DAVIS17 here scores each expression, the authors merge a video's objects into one map first (the "
    "task 'video objects' does)"
)
