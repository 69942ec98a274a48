"""A class list about a picture whose every pixel's class is known: mean IoU."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from hyperseg_bench.quality.asks.ask import ALL, Numbers, Score
from hyperseg_bench.quality.maps import class_map
from hyperseg_bench.quality.metrics.semantic import ClassPixels, class_pixels, mean_iou
from hyperseg_runtime.contracts.requests import Classes
from hyperseg_runtime.contracts.results import Result


@dataclass(frozen=True)
class SemanticAsk:
    """truth (H, W) int32: index into the names, -1 for void."""

    measure: ClassVar[str] = "semantic"
    about_video: ClassVar[bool] = False
    main: ClassVar[str] = "miou"

    name: str
    names: tuple[str, ...] = field(repr=False)
    truth: np.ndarray = field(repr=False)
    kind: str = ALL
    tasks: tuple[str, ...] = ("semantic",)

    @property
    def request(self) -> Classes:
        return Classes(self.names)

    def score(self, results: Sequence[Result]) -> Score:
        (result,) = results
        pixels = class_pixels(class_map(result, self.names), self.truth)
        classes = [{"class": index, **vars(own)} for index, own in pixels.items()]
        return {"miou": mean_iou([pixels]), "classes": classes}

    @classmethod
    def numbers(cls, scores: Sequence[Mapping[str, Any]]) -> Numbers:
        images = [{own["class"]: ClassPixels(own["shared"], own["union"]) for own in s["classes"]} for s in scores]
        return {"miou": mean_iou(images), "count": len(scores)}
