"""Calls on disk are what they were when they happened, and reading them takes no memory of its own."""

from pathlib import Path

import numpy as np

from hyperseg_export.parity.saved_calls import SavingGraphs, call_bytes, forget_calls, read_calls
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from parity_graphs import SPEC, Count


def saved(folder: Path, steps: tuple[int, ...]) -> list[str]:
    """Which calls were told of."""
    backend, begun = OnnxRuntimeBackend(), list[str]()
    graphs = SavingGraphs({"count": Count(), "count.more": Count()}, folder, ["count"], begun.append)
    past = backend.upload(np.zeros(2, np.float32))
    for step in steps:
        inputs = {"step": backend.upload(np.full(2, step, np.float32)), "past": past}
        assert graphs["count"].run(inputs)["present"] is past
        graphs["count.more"].run(inputs)
    return begun


def test_every_call_is_kept_as_it_was(tmp_path: Path) -> None:
    """Inputs before the graph writes over them; only graphs that were asked for."""
    (tmp_path / "count.onnx").write_text("another file of that name")
    assert saved(tmp_path, (1, 10)) == ["count", "count"]
    first, second = read_calls(tmp_path, "count")
    assert (first.inputs["step"][0], first.inputs["past"][0], first.outputs["present"][0]) == (1, 0, 1)
    assert (second.inputs["step"][0], second.inputs["past"][0], second.outputs["present"][0]) == (10, 2, 12)
    assert list(read_calls(tmp_path, "count.more")) == []


def test_arrays_are_pages_of_files_that_nobody_changes(tmp_path: Path) -> None:
    saved(tmp_path, (1,))
    (call,) = read_calls(tmp_path, "count")
    assert isinstance(call.inputs["past"], np.memmap)
    call.inputs["past"][:] = 7
    assert next(read_calls(tmp_path, "count")).inputs["past"][0] == 0


def test_calls_can_be_forgotten(tmp_path: Path) -> None:
    saved(tmp_path, (1, 2))
    forget_calls(tmp_path, "count")
    assert list(tmp_path.iterdir()) == []


def test_caches_count_apart() -> None:
    assert call_bytes(SPEC) == (2 * 4, 1 * 4)
