"""A double of the metrics in `triton_python_backend_utils`.

python_backend README, "Custom Metrics": MetricFamily with name, description and kind; Metric with labels; increment
refuses less than 0 for counters; set is for gauges.
"""

from collections.abc import Mapping
from functools import partial

Values = dict[tuple[str, ...], float]


class Cell:
    def __init__(self, values: Values, name: str, kind: str, labels: Mapping[str, str]) -> None:
        self.values = values
        self.key = (name, *labels.values())
        self.kind = kind
        values.setdefault(self.key, 0.0)

    def increment(self, amount: float) -> None:
        assert amount >= 0 or self.kind == "gauge"
        self.values[self.key] += amount

    def set(self, value: float) -> None:
        assert self.kind == "gauge"
        self.values[self.key] = value


class Family:
    COUNTER, GAUGE = "counter", "gauge"

    def __init__(self, values: Values, name: str, description: str, kind: str) -> None:
        assert description and kind in (self.COUNTER, self.GAUGE)
        self.Metric = partial(Cell, values, name, kind)


class MetricsModule:
    """`values` by name and label values, as a page would show them."""

    def __init__(self) -> None:
        self.values: Values = {}
        self.MetricFamily = self

    COUNTER, GAUGE = Family.COUNTER, Family.GAUGE

    def __call__(self, name: str, description: str, kind: str) -> Family:
        return Family(self.values, name, description, kind)
