"""What passes between a data set, the model that is asked, and the metrics."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hyperseg_bench.quality.asks.ask import Ask
from hyperseg_runtime.images.reading import ImageSource

Row = dict[str, Any]
"""One ask with its score, as JSON: `ask`, `measure`, `kind`, `asked`, `task`, and what the measure says of it; or
in the place of `task` and scores the reason why it was `left_out`."""


@dataclass(frozen=True)
class Sample:
    """One picture, or the frames of one clip, and everything asked about it.

    key     its name in the data set
    frames  one for a picture; read when they are needed
    """

    key: str
    frames: Sequence[ImageSource]
    asks: tuple[Ask, ...]


class DataSet(Protocol):
    """Samples by name. Opening reads the annotations; pictures are read one sample at a time."""

    @property
    def keys(self) -> Sequence[str]:
        """Names of the samples in order, no two alike."""
        ...

    def sample(self, key: str) -> Sample: ...


@dataclass(frozen=True)
class First:
    """The first samples of a data set."""

    whole: DataSet
    count: int

    @property
    def keys(self) -> Sequence[str]:
        return self.whole.keys[: self.count]

    def sample(self, key: str) -> Sample:
        return self.whole.sample(key)


def in_order(keys: Sequence[str], rows: Mapping[str, Sequence[Row]]) -> Iterator[tuple[str, Row]]:
    """Every row with its sample's key, in the data set's order, whatever the order they were made in."""
    for key in keys:
        for row in rows.get(key, ()):
            yield key, row
