"""Engines whose weights lie on the host, and shapes that TensorRT cannot derive."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from engine_graphs import HALVED, halved, opened
from hyperseg_runtime.backends.cuda.device import Device
from hyperseg_runtime.backends.cuda.driver import load_cudart
from hyperseg_runtime.backends.tensorrt.engine import streams_weights
from hyperseg_runtime.backends.tensorrt.graph import TensorRTGraph
from hyperseg_runtime.backends.tensorrt.logger import make_logger
from hyperseg_runtime.errors import HypersegError


@pytest.mark.usefixtures("tensorrt_double")
@pytest.mark.parametrize(("budget", "streams", "replayed"), [(0, True, 0), (8, True, 0), (16, False, 3)])
def test_a_call_that_streams_weights_is_never_recorded(
    tmp_path: Path, budget: int, streams: bool, replayed: int
) -> None:
    trt, engine = opened(halved(tmp_path / "halved.onnx", weight=8.0), HALVED, streaming=True)
    engine.weight_streaming_budget_v2 = budget
    assert engine.streamable_weights_size == 16 and streams_weights(engine) is streams
    device = Device(load_cudart())
    graph = TensorRTGraph(HALVED, trt, engine, device, make_logger(trt), recordings=4)
    try:
        given = device.upload(np.arange(4, dtype=np.float32)[None])
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a try that fails would warn
            for _ in range(5):
                np.testing.assert_array_equal(graph.run({"x": given})["y"].to_host(), [[0, 2, 4, 6]])
        assert graph.replayed == replayed
    finally:
        graph.close()
        device.close()


@pytest.mark.usefixtures("tensorrt_double")
def test_shapes_that_cannot_be_derived_are_an_error_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trt, engine = opened(halved(tmp_path / "halved.onnx"), HALVED)
    device = Device(load_cudart())
    graph = TensorRTGraph(HALVED, trt, engine, device, make_logger(trt), recordings=0)
    monkeypatch.setenv("DOUBLE_FAULT", "cannot infer shapes")
    try:
        with pytest.raises(HypersegError, match=r"graph halved: TensorRT cannot derive shapes from .*code: -1"):
            graph.run({"x": device.upload(np.zeros((1, 4), np.float32))})
    finally:
        graph.close()
        device.close()
