"""The contract of an ask: a request with its truth, the score of one result, and the numbers of many."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from hyperseg_runtime.contracts.requests import Request

ALL = "all"
"""Kind of asks that are not told apart; row of the table about all kinds together."""
Score = dict[str, Any]
"""JSON: numbers, and masks as run lengths where a report draws them."""
Numbers = dict[str, float]
"""Metric -> value; `count` says of how many asks."""


class Ask(Protocol):
    """A request whose right answer is known. Asks of one class share a measure and can be put together in a table."""

    measure: ClassVar[str]
    """Name of the measure, in rows of the table and in records."""
    about_video: ClassVar[bool]
    """Asked of the frames of a clip, one after another, or of a picture."""
    main: ClassVar[str]
    """Which entry of a score says how good one result is, 0..1."""

    @property
    def name(self) -> str:
        """Tells it from the sample's other asks."""
        ...

    @property
    def kind(self) -> str:
        """Row of the table."""
        ...

    @property
    def request(self) -> Request: ...

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks to ask it in, the best first, where the family has them; otherwise the family's default."""
        ...

    def score(self, results: Sequence[Any]) -> Score:
        """Of the result (of a clip: of all frames in order)."""
        ...

    @classmethod
    def numbers(cls, scores: Sequence[Mapping[str, Any]]) -> Numbers:
        """Metrics of many scores, one or more, in the data set's order."""
        ...
