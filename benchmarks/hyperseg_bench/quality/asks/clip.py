"""An expression about a clip: J&F of its masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from hyperseg_bench.quality.asks.ask import ALL, Numbers, Score
from hyperseg_bench.quality.metrics.video import clip_scores
from hyperseg_runtime.contracts.requests import Expressions
from hyperseg_runtime.contracts.results import Instances, encode_rle


@dataclass(frozen=True)
class ClipAsk:
    """truth (T, H, W) bool, one mask for every frame; void (T, H, W) bool: pixels that do not count."""

    measure: ClassVar[str] = "clips"
    about_video: ClassVar[bool] = True
    main: ClassVar[str] = "j_and_f"

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
        found = np.stack([result.mask for result in results])
        scores = clip_scores(found, self.truth, self.void)
        masks = {"found": [encode_rle(mask) for mask in found], "truth": [encode_rle(mask) for mask in self.truth]}
        return {"j": scores.j, "f": scores.f, "j_and_f": scores.j_and_f, **masks}

    @classmethod
    def numbers(cls, scores: Sequence[Mapping[str, Any]]) -> Numbers:
        means = {name: float(np.mean([score[name] for score in scores])) for name in ("j", "f")}
        return {**means, "j_and_f": (means["j"] + means["f"]) / 2, "count": len(scores)}
