"""Level "engine": a TensorRT engine against the ONNX graph it was built from, on saved calls. In a process of its own.

    python -m hyperseg_export.engine.measure JOB.json

Prints one JSON object: {"parity": [...]} or {"error": ..., "kind": ...}.
"""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from hyperseg_export.engine.attention import AttentionForm, advice
from hyperseg_export.engine.plugins import PluginForm
from hyperseg_export.engine.plugins import advice as plugin_advice
from hyperseg_export.families import tolerances_of
from hyperseg_export.jobs.worker import keep_stdout, run_job
from hyperseg_export.parity.entries import Undecided, compare_graph, require_passed, undecided_in, worst_of
from hyperseg_export.parity.recording import Arrays, Call
from hyperseg_export.parity.saved_calls import read_calls
from hyperseg_runtime.backends.base import Graph
from hyperseg_runtime.backends.cuda.device import Device
from hyperseg_runtime.backends.cuda.driver import load_cudart
from hyperseg_runtime.backends.onnxruntime import OnnxRuntimeBackend
from hyperseg_runtime.backends.tensorrt.engine import EngineReader
from hyperseg_runtime.backends.tensorrt.graph import TensorRTGraph
from hyperseg_runtime.backends.tensorrt.machine import load_tensorrt
from hyperseg_runtime.bundle.manifest import ParityEntry
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.errors import NumericsError

RUNS = 3
"""As it is, recorded after the second time, replayed the third time (see TensorRTGraph)."""


class ParityJob(BaseModel):
    """Which engine to compare, and where the calls of its graph are saved."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str
    spec: GraphSpec
    precision: Precision
    rounded: bool = False
    plan: Path
    onnx: Path
    version_compatible: bool
    stripped: bool
    plugins: tuple[Path, ...]
    attention: AttentionForm | None = None
    plugin_form: PluginForm | None = None
    calls: Path

    @property
    def judged_as(self) -> Precision:
        """Whose tolerances hold. A value halfway between two steps of 8 bits may go either way in two runtimes, so that
        a quantised float32 graph is no more equal than one in fp16."""
        return Precision.FP16 if self.rounded and self.precision is Precision.FP32 else self.precision


class Measured(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    parity: tuple[ParityEntry, ...]


def measure_engine(job: ParityJob) -> Measured:
    """Run every saved call. Raises ParityError or NumericsError where the engine must not be used."""
    trt, cudart = load_tensorrt(), load_cudart()
    reader = EngineReader(trt, job.plugins)
    engine = reader.read(job.plan, job.version_compatible)
    if job.stripped:
        reader.fill(engine, job.spec.name, job.onnx)
    reader.stream_weights(engine, None)
    device = Device(cudart)
    graph = TensorRTGraph(job.spec, trt, engine, device, reader.logger, recordings=RUNS)
    try:
        entries = _compare(job, graph, device)
    finally:
        graph.close()
        device.close()
    hints = ("the engine was thrown away", advice(job.spec.name, job.attention), _about_plugins(job))
    require_passed(entries, "; ".join(filter(None, hints)))
    return Measured(parity=entries)


def _compare(job: ParityJob, graph: TensorRTGraph, device: Device) -> tuple[ParityEntry, ...]:
    """The worst row of each output and measure over all calls, which are read one at a time."""
    return worst_of(job.spec.name, _all_rows(job, graph, device))


def _all_rows(job: ParityJob, graph: TensorRTGraph, device: Device) -> Iterator[ParityEntry]:
    again = _reference(job)
    for call in read_calls(job.calls, job.spec.name):
        undecided = undecided_in(again, call.inputs, tolerances_of(job.family))
        for made in _outputs(graph, device, call):
            _require_numbers(job, made)
            yield from _rows(job, call, made, undecided)


def _reference(job: ParityJob) -> Callable[[Arrays], Arrays]:
    """The ONNX graph in ONNX Runtime, opened when it is first asked."""
    backend = OnnxRuntimeBackend()

    @cache
    def opened() -> Graph:
        return backend.open(job.spec, job.onnx)

    def run(inputs: Arrays) -> Arrays:
        outputs = opened().run({name: backend.upload(array) for name, array in inputs.items()})
        return {name: buffer.to_host() for name, buffer in outputs.items()}

    return run


def _rows(job: ParityJob, call: Call, made: Arrays, undecided: Undecided) -> Iterator[ParityEntry]:
    """All outputs; of caches also what the call wrote alone: in the whole cache a row more or less is lost."""
    tolerances = tolerances_of(job.family)
    parts = [(made, call.outputs)]
    for output, source in job.spec.in_place.items():
        written = call.outputs[output] != call.inputs[source]
        if written.any():
            parts.append(({output: made[output][written]}, {output: call.outputs[output][written]}))
    for found, expected in parts:
        yield from compare_graph(job.spec.name, job.judged_as, found, expected, "tensorrt", tolerances, undecided)


def _outputs(graph: TensorRTGraph, device: Device, call: Call) -> Iterator[Arrays]:
    """What the engine makes of a call, run as it is and replayed, each time from the call's own caches."""
    spec = graph.spec
    inputs = {tensor.name: device.upload(call.inputs[tensor.name], tensor.dtype) for tensor in spec.inputs}
    for run in range(1, RUNS + 1):
        for tensor in spec.inputs:
            if tensor.name in spec.in_place.values():  # into the same memory, which recordings know
                fresh = device.upload(call.inputs[tensor.name], tensor.dtype)
                for batch in range(fresh.shape[0]):
                    device.copy_rows(inputs[tensor.name], batch, 0, fresh, batch)
        outputs = graph.run(inputs)
        if run in (1, RUNS):
            yield {name: buffer.to_host() for name, buffer in outputs.items()}


def _require_numbers(job: ParityJob, made: Arrays) -> None:
    for name, values in made.items():
        if not np.isfinite(values).all():
            raise NumericsError(
                f"graph {job.spec.name}: the {job.precision} engine gives NaN or infinite values in {name} where the "
                "ONNX graph does not; the engine was thrown away. Choose another precision for this graph "
                f"(export --precision-of {job.spec.name}=fp32)" + _also(job)
            )


def _also(job: ParityJob) -> str:
    known = job.attention is AttentionForm.WRITTEN_OUT
    hints = ("" if known else advice(job.spec.name, job.attention), _about_plugins(job))
    return "".join(f"; {hint}" for hint in hints if hint)


def _about_plugins(job: ParityJob) -> str:
    return plugin_advice(job.spec.name, job.plugin_form)


if __name__ == "__main__":
    keep_stdout()
    run_job(ParityJob, measure_engine)
