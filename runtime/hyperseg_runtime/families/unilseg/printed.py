"""What the authors of UniLSeg print of UniLSeg-20 (arXiv 2312.01623)."""

from hyperseg_runtime.families.printed import referring

PRINTED = (
    *referring("refcoco", val=0.8052, testA=0.8183, testB=0.7843),
    *referring("refcoco+", val=0.7270, testA=0.7702, testB=0.6699),
    *referring("refcocog", val=0.7841, test=0.7947),
)
NOTE = "the released file is UniLSeg-20 before fine-tuning, which does not reach these numbers"
