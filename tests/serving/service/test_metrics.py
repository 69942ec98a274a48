"""What is counted, on a double of the server's metrics."""

from hyperseg_serving.refusals import Reason
from hyperseg_serving.service import metrics
from hyperseg_serving.service.metrics import Kind, Metrics
from hyperseg_serving.service.responses import Response
from metrics_double import MetricsModule


def test_every_name_is_there_from_the_start() -> None:
    """But for stages, whose names are the family's: an alert on what never happened must not be without data."""
    module = MetricsModule()
    Metrics(module)
    assert set(module.values.values()) == {0.0}
    assert {name for name, *_ in module.values} == metrics.names() - {metrics.STAGE_MS}
    assert {("hyperseg_requests_refused", reason.value) for reason in Reason} <= module.values.keys()
    assert {("hyperseg_requests_served", kind.value) for kind in Kind} <= module.values.keys()


def test_requests_are_counted_by_what_became_of_them() -> None:
    module = MetricsModule()
    counted = Metrics(module)
    details = {"prompt_tokens": 100, "reused_tokens": 60}
    result = {"instances": [{}], "details": details, "timings_ms": {"llm": 2.5}}
    counted.responded(Response(piece="a"))
    counted.responded(Response(result={"results": [result, result]}))
    counted.responded(Response(result={"results": []}))
    frame = {"segments_info": [{}, {}], "details": {"other": 1}, "timings_ms": {"llm": 1.5}}
    counted.responded(Response(result={"frames": [{"frame": 0, "results": [frame]}]}))
    counted.served(Kind.FRAME)
    for _ in range(2):
        counted.refused(Reason.TEXT)
    counted.set(metrics.STREAMS, 3)
    assert module.values[metrics.REFUSED, "E_TEXT"] == 0  # not before it is published
    counted.publish()
    assert {key: value for key, value in module.values.items() if value} == {
        ("hyperseg_streams",): 3,
        ("hyperseg_answer_pieces",): 1,
        ("hyperseg_requests_served", "frame"): 1,
        ("hyperseg_masks",): 4,
        ("hyperseg_prompt_tokens",): 200,
        ("hyperseg_prompt_tokens_reused",): 120,
        ("hyperseg_stage_ms", "llm"): 4.0,
        ("hyperseg_requests_refused", "E_TEXT"): 2,
    }


def test_a_histogram_is_cumulative() -> None:
    module = MetricsModule()
    counted = Metrics(module)
    for value_ms in (3.0, 40.0, 1e9):
        counted.observed(metrics.MODEL_MS, value_ms)
    counted.publish()
    shown = {key[1]: value for key, value in module.values.items() if key[0] == "hyperseg_model_ms_bucket"}
    assert (shown["5"], shown["25"], shown["50"], shown["120000"], shown["+Inf"]) == (1, 1, 2, 2, 3)
    assert module.values[("hyperseg_model_ms_count",)] == 3
    assert module.values[("hyperseg_model_ms_sum",)] == 1e9 + 43
