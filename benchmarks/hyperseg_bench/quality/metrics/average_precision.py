"""Mask AP of COCO, as pycocotools computes it."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

STATS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")


@dataclass(frozen=True)
class AveragePrecision:
    """Mean over IoU thresholds 0.50, 0.55, ..., 0.95, and at two of them; by size of the target in pixels.

    -1 where no target is of that size, as in the original.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float


def average_precision(truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> AveragePrecision:
    """`truth` is the content of a COCO instances file, `results` of a COCO results file with segmentations.

    Raises ValueError if a result is about an image that the truth does not hold.
    """
    known = {image["id"] for image in truth["images"]}
    foreign = sorted({result["image_id"] for result in results} - known)
    if foreign:
        raise ValueError(f"results about image {foreign[0]}, which is not among the {len(known)} of the truth")
    if not results:
        return AveragePrecision(*[0.0] * len(STATS))
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        coco = COCO()
        coco.dataset = dict(truth)
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes([dict(result) for result in results]), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return AveragePrecision(*(float(value) for value in evaluation.stats[: len(STATS)]))
