"""Weights that can be exchanged are those that the ONNX file names: constants in bodies of functions stay."""

from pathlib import Path

import numpy as np
import pytest

from engine_graphs import HALVED, convolution, halved
from hyperseg_export.engine.network import mark_weights
from hyperseg_export.engine.options import BuildOptions
from hyperseg_export.engine.worker import Job, build
from hyperseg_runtime.backends.cuda.device import Device
from hyperseg_runtime.backends.cuda.driver import load_cudart
from hyperseg_runtime.backends.tensorrt.engine import EngineReader
from hyperseg_runtime.backends.tensorrt.graph import TensorRTGraph
from hyperseg_runtime.backends.tensorrt.machine import load_tensorrt
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.errors import EngineError


def made(onnx: Path, options: BuildOptions) -> tuple[EngineReader, object]:
    job = Job(
        family="hyperseg",
        onnx=onnx,
        spec=HALVED,
        precision=Precision.FP32,
        options=options,
        timing_cache=onnx.with_name("timing.cache"),
        plan=onnx.with_suffix(".plan"),
        plugins=(),
        architecture="sm_90",
    )
    build(job)
    reader = EngineReader(load_tensorrt())
    return reader, reader.read(job.plan, False)


def result(reader: EngineReader, engine: object) -> np.ndarray:
    device = Device(load_cudart())
    graph = TensorRTGraph(HALVED, reader.trt, engine, device, reader.logger, 0)
    try:
        given = device.upload(np.arange(4, dtype=np.float32)[None])
        return np.array(graph.run({"x": given})["y"].to_host())
    finally:
        graph.close()
        device.close()


@pytest.mark.usefixtures("tensorrt_double")
@pytest.mark.parametrize("options", [BuildOptions(stripped=True), BuildOptions(stripped=True, refit=True)])
def test_a_plan_without_weights_is_filled_beside_bodies_with_constants(tmp_path: Path, options: BuildOptions) -> None:
    onnx = halved(tmp_path / "halved.onnx", weight=8.0)
    reader, engine = made(onnx, options)
    reader.fill(engine, "halved", onnx)
    np.testing.assert_array_equal(result(reader, engine), [[0, 2, 4, 6]])


@pytest.mark.usefixtures("tensorrt_double")
def test_named_weights_are_exchanged_and_constants_are_not(tmp_path: Path) -> None:
    onnx = halved(tmp_path / "halved.onnx")
    reader, engine = made(onnx, BuildOptions(refit=True))
    assert reader.trt.Refitter(engine, reader.logger).get_all_weights() == ["w"]
    reader.refit(engine, "halved", {"w": np.full(4, 4, np.float32)}, onnx)
    np.testing.assert_array_equal(result(reader, engine), [[0, 1, 2, 3]])


@pytest.mark.usefixtures("tensorrt_double")
def test_a_graph_of_which_nothing_can_be_exchanged_is_told(tmp_path: Path) -> None:
    trt = load_tensorrt()
    logger = trt.ILogger()
    network = trt.Builder(logger).create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    trt.OnnxParser(network, logger).parse_from_file(str(convolution(tmp_path / "small.onnx")))
    network._model.graph.ClearField("initializer")
    with pytest.raises(EngineError, match="graph halved: TensorRT can exchange none of its 1 weights later"):
        mark_weights(network, tmp_path / "small.onnx", HALVED)
