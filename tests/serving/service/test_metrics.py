"""What is counted, on a double of the server's metrics."""

from typing import Any

from hyperseg_serving.refusals import Reason
from hyperseg_serving.service.metrics import Metrics
from hyperseg_serving.service.responses import Response

VALUES: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}


class Family:
    COUNTER, GAUGE = "counter", "gauge"

    def __init__(self, name: str, description: str, kind: str) -> None:
        self.name = name
        assert description and kind in (self.COUNTER, self.GAUGE)

    def Metric(self, labels: dict[str, str]) -> "Cell":  # noqa: N802
        return Cell((self.name, tuple(labels.items())))


class Cell:
    def __init__(self, key: Any) -> None:
        self.key = key

    def increment(self, amount: float) -> None:
        VALUES[self.key] = VALUES.get(self.key, 0) + amount

    def set(self, value: float) -> None:
        VALUES[self.key] = value


class Backend:
    MetricFamily = Family


def test_requests_are_counted_by_what_became_of_them() -> None:
    VALUES.clear()
    metrics = Metrics(Backend)
    result = {"prompt_tokens": 100, "reused_tokens": 60, "timings_ms": {"llm": 2.5}}
    metrics.served(Response(piece="a"), streams=0)
    metrics.served(Response(result={"results": [result, result]}), streams=3)
    metrics.served(Response(result={"results": []}), streams=2)
    for _ in range(2):
        metrics.refused(Reason.TEXT)
    assert VALUES == {
        ("hyperseg_streams", ()): 2,
        ("hyperseg_answer_pieces", ()): 1,
        ("hyperseg_requests_served", ()): 2,
        ("hyperseg_masks", ()): 2,
        ("hyperseg_prompt_tokens", ()): 200,
        ("hyperseg_prompt_tokens_reused", ()): 120,
        ("hyperseg_stage_ms", (("stage", "llm"),)): 2.5,
        ("hyperseg_requests_refused", (("reason", "E_TEXT"),)): 2,
    }
