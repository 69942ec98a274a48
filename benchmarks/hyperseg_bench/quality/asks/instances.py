"""A class list about a picture whose every object is known: COCO's mask AP."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from hyperseg_bench.quality.asks.ask import ALL, Numbers, Score
from hyperseg_bench.quality.metrics.average_precision import average_precision
from hyperseg_runtime.contracts.requests import Classes
from hyperseg_runtime.contracts.results import Instances, encode_rle

MOST = 100
"""Results of one picture that count (COCO's maxDets)."""


@dataclass(frozen=True)
class InstancesAsk:
    """categories: COCO's ids of the names; truth: the picture's annotations as COCO has them; image_hw its size."""

    measure: ClassVar[str] = "instances"
    about_video: ClassVar[bool] = False
    main: ClassVar[str] = "ap"

    name: str
    names: tuple[str, ...] = field(repr=False)
    categories: tuple[int, ...] = field(repr=False)
    truth: tuple[Mapping[str, Any], ...] = field(repr=False)
    image_hw: tuple[int, int]
    kind: str = ALL
    tasks: tuple[str, ...] = ("instance",)

    @property
    def request(self) -> Classes:
        return Classes(self.names, things=(True,) * len(self.names))

    def score(self, results: Sequence[Any]) -> Score:
        (result,) = results
        if not isinstance(result, Instances):
            raise ValueError(f"expected instances, got a {result.kind} result in the task {result.task}")
        category_of = dict(zip(self.names, self.categories, strict=True))
        rows = [
            {"category_id": category_of[label], "score": float(score), "segmentation": encode_rle(mask)}
            for label, score, mask in list(zip(result.labels, result.scores, result.masks, strict=True))[:MOST]
        ]
        score: Score = {
            "results": rows,
            "annotations": [dict(annotation) for annotation in self.truth],
            "categories": list(self.categories),
            "image_hw": list(self.image_hw),
        }
        return {"ap": self._single(score), **score}

    @classmethod
    def _single(cls, score: Score) -> float:
        """AP of one picture; without any object 1 for no result, else 0."""
        if not any(not annotation.get("iscrowd") for annotation in score["annotations"]):
            return float(not score["results"])
        return max(0.0, cls.numbers([score])["ap"])

    @classmethod
    def numbers(cls, scores: Sequence[Mapping[str, Any]]) -> Numbers:
        images, annotations, results = [], [], []
        for number, score in enumerate(scores, 1):
            height, width = score["image_hw"]
            images.append({"id": number, "height": height, "width": width})
            for annotation in score["annotations"]:
                annotations.append({**annotation, "id": len(annotations) + 1, "image_id": number})
            results += [{**result, "image_id": number} for result in score["results"]]
        truth = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": category} for category in scores[0]["categories"]],
        }
        return {**asdict(average_precision(truth, results)), "count": len(scores)}
