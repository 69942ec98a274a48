"""An expression about a picture: cIoU and mean IoU of the masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from hyperseg_bench.quality.asks.ask import ALL, Numbers, Score
from hyperseg_bench.quality.metrics.iou import IouSums, overlap, ratio
from hyperseg_runtime.contracts.requests import Expressions
from hyperseg_runtime.contracts.results import Instances, encode_rle


@dataclass(frozen=True)
class ExpressionAsk:
    """truth (H, W) bool, without a pixel where the text names nothing; void (H, W) bool: pixels that do not count."""

    measure: ClassVar[str] = "expressions"
    about_video: ClassVar[bool] = False
    main: ClassVar[str] = "iou"

    name: str
    text: str
    truth: np.ndarray = field(repr=False)
    kind: str = ALL
    void: np.ndarray | None = field(default=None, repr=False)
    tasks: tuple[str, ...] = ()

    @property
    def request(self) -> Expressions:
        return Expressions((self.text,))

    def score(self, results: Sequence[Instances]) -> Score:
        (result,) = results
        shared, union = overlap(result.mask, self.truth, self.void)
        score: Score = {
            "iou": ratio(shared, union),
            "intersection_px": shared,
            "union_px": union,
            "named": bool(self.truth.any()),
            "confidence": result.score,
            "found": encode_rle(result.mask),
            "truth": encode_rle(self.truth),
        }
        return score if self.void is None else {**score, "void": encode_rle(self.void)}

    @classmethod
    def numbers(cls, scores: Sequence[Mapping[str, Any]]) -> Numbers:
        sums = IouSums()
        for score in scores:
            sums.add_counts(score["intersection_px"], score["union_px"])
        empty = [score["union_px"] == 0 for score in scores if not score["named"]]
        right_about_nothing = {"n_acc": float(np.mean(empty))} if empty else {}
        return {"ciou": sums.ciou, "miou": sums.miou, **right_about_nothing, "count": sums.pairs}
