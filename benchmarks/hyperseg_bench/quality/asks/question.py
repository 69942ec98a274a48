"""A question about a picture: exact match of the answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from hyperseg_bench.quality.asks.ask import ALL, Numbers, Score
from hyperseg_bench.quality.metrics.answers import exact_match
from hyperseg_runtime.contracts.requests import Question


@dataclass(frozen=True)
class QuestionAsk:
    """chance: how often a guess is right; max_tokens: how much of an answer is read, None for the family's default."""

    measure: ClassVar[str] = "questions"
    about_video: ClassVar[bool] = False
    main: ClassVar[str] = "right"

    name: str
    text: str
    truth: str
    kind: str = ALL
    chance: float = 0.0
    max_tokens: int | None = None
    tasks: tuple[str, ...] = ()

    @property
    def request(self) -> Question:
        return Question(self.text, max_tokens=self.max_tokens)

    def score(self, results: Sequence[str]) -> Score:
        (answer,) = results
        right = int(exact_match(answer, self.truth))
        return {"right": right, "answer": answer, "expected": self.truth, "chance": self.chance}

    @classmethod
    def numbers(cls, scores: Sequence[Mapping[str, Any]]) -> Numbers:
        means = {name: float(np.mean([s[entry] for s in scores])) for name, entry in MEANS.items()}
        return {**means, "count": len(scores)}


MEANS = {"accuracy": "right", "chance": "chance"}
