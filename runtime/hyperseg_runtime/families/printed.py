"""Numbers that authors print about their published weights, in the words of `hyperseg-trt eval`'s tables."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PrintedNumber:
    """data_set and split as `eval` takes them; row and metric of its table; value in 0..1."""

    data_set: str
    split: str
    row: str
    metric: str
    value: float


def referring(data_set: str, **splits: float) -> tuple[PrintedNumber, ...]:
    """cIoU of the splits of a RefCOCO-like data set."""
    return tuple(PrintedNumber(data_set, split, "expressions, all", "ciou", value) for split, value in splits.items())
