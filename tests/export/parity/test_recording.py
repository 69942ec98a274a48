"""Recorded calls are copies: later in-place updates do not change them."""

import numpy as np
import pytest

from hyperseg_export.parity.recording import RecordingGraphs
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from parity_graphs import SPEC, Count


@pytest.fixture
def backend() -> OnnxRuntimeBackend:
    return OnnxRuntimeBackend()


def test_every_call_is_kept_as_it_was(backend: OnnxRuntimeBackend) -> None:
    graphs = RecordingGraphs({"count": Count()})
    past = backend.upload(np.zeros(2, np.float32))
    for step in (1, 10):
        outputs = graphs["count"].run({"step": backend.upload(np.full(2, step, np.float32)), "past": past})
        assert outputs["present"] is past
    first, second = graphs.calls["count"]
    assert (first.inputs["step"][0], first.inputs["past"][0], first.outputs["present"][0]) == (1, 0, 1)
    assert (second.inputs["step"][0], second.inputs["past"][0], second.outputs["present"][0]) == (10, 1, 11)


def test_calls_of_one_graph_are_listed_together(backend: OnnxRuntimeBackend) -> None:
    graphs = RecordingGraphs({"count": Count(), "other": Count()})
    inputs = {name: backend.upload(np.ones(1, np.float32)) for name in ("step", "past")}
    graphs["count"].run(inputs)
    graphs["other"].run(inputs)
    graphs["count"].run(inputs)
    assert {name: len(calls) for name, calls in graphs.calls.items()} == {"count": 2, "other": 1}


def test_it_is_the_mapping_it_wraps() -> None:
    graphs = RecordingGraphs({"count": Count()})
    assert list(graphs) == ["count"]
    assert len(graphs) == 1
    assert graphs["count"].spec is SPEC
    with pytest.raises(KeyError):
        graphs["absent"]


def test_a_call_that_fails_is_not_recorded(backend: OnnxRuntimeBackend) -> None:
    graphs = RecordingGraphs({"count": Count()})
    with pytest.raises(KeyError):
        graphs["count"].run({"step": backend.upload(np.ones(1, np.float32))})
    assert not graphs.calls["count"]
