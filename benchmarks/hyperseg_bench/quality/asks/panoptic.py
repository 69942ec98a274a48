"""A class list about a picture whose every segment is known: panoptic quality."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from hyperseg_bench.quality.asks.ask import ALL, Numbers, Score
from hyperseg_bench.quality.maps import panoptic_map
from hyperseg_bench.quality.metrics.panoptic import CategoryCounts, PanopticCounts, Segment
from hyperseg_runtime.contracts.requests import Classes
from hyperseg_runtime.contracts.results import Result


@dataclass(frozen=True)
class PanopticAsk:
    """names and things: the class list; truth (H, W) of segment numbers, 0 for void; a segment's category is an index
    into the names.
    """

    measure: ClassVar[str] = "panoptic"
    about_video: ClassVar[bool] = False
    main: ClassVar[str] = "pq"

    name: str
    names: tuple[str, ...] = field(repr=False)
    things: tuple[bool, ...] = field(repr=False)
    truth: np.ndarray = field(repr=False)
    segments: tuple[Segment, ...] = field(repr=False)
    kind: str = ALL
    tasks: tuple[str, ...] = ("panoptic",)

    @property
    def request(self) -> Classes:
        return Classes(self.names, things=self.things)

    def score(self, results: Sequence[Result]) -> Score:
        (result,) = results
        ids, found = panoptic_map(result, self.names, self.things)
        counts = PanopticCounts()
        counts.add(ids, [Segment(segment.id, segment.class_index) for segment in found], self.truth, self.segments)
        categories = [
            {"class": index, "thing": self.things[index], **vars(own)} for index, own in counts.categories.items()
        ]
        return {"pq": counts.quality(), "categories": categories}

    @classmethod
    def numbers(cls, scores: Sequence[Mapping[str, Any]]) -> Numbers:
        counts, things = PanopticCounts(), set()
        for own in (own for score in scores for own in score["categories"]):
            total = counts.categories.setdefault(own["class"], CategoryCounts())
            for name in vars(total):
                setattr(total, name, getattr(total, name) + own[name])
            if own["thing"]:
                things.add(own["class"])
        stuff = counts.categories.keys() - things
        parts = {"pq": None, "pq_things": things, "pq_stuff": stuff}
        return {**{name: counts.quality(part) for name, part in parts.items()}, "count": len(scores)}
