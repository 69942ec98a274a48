"""Where an engine begins to differ: tensors on the way become outputs, a few at a time, and are compared.

    python -m hyperseg_export.engine.bisect JOB.json

Making a tensor an output keeps TensorRT from fusing over it, so that an error may go away; then that is the answer.
What is found is written as a small case for Polygraphy, with which it can be looked into and reported.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from hyperseg_export.engine.plugins import register_kernels
from hyperseg_export.engine.reproducer import write_case
from hyperseg_export.engine.worker import Job, formed, write_plan
from hyperseg_export.jobs.worker import keep_stdout, run_job, say
from hyperseg_export.onnx.upcast import upcast
from hyperseg_export.parity.compare import cosine_distance
from hyperseg_export.parity.recording import Arrays, Call
from hyperseg_export.parity.saved_calls import read_calls
from hyperseg_export.parity.tolerances import COSINE, FEATURE
from hyperseg_runtime.backends.cuda.device import Device
from hyperseg_runtime.backends.cuda.driver import load_cudart
from hyperseg_runtime.backends.tensorrt.engine import EngineReader
from hyperseg_runtime.backends.tensorrt.graph import TensorRTGraph
from hyperseg_runtime.backends.tensorrt.machine import load_tensorrt
from hyperseg_runtime.contracts.graph_spec import DType, TensorSpec

MARKED = 8
"""Tensors compared per build: three builds for a graph of 700 nodes, four for one of 6,000."""
FLOATS = {1: DType.FLOAT32, 10: DType.FLOAT16, 16: DType.BFLOAT16}
"""ONNX type -> ours, of tensors that are compared."""


class BisectJob(BaseModel):
    """Which engine was wrong, the calls it was compared on, a folder to work in and one for the case."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    build: Job
    calls: Path
    scratch: Path
    case: Path


class Culprit(BaseModel):
    """The first tensor that differs; none where the difference goes away when tensors on the way are outputs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tensor: str | None
    operator: str = ""
    distance: float = 0.0
    allowed: float = 0.0
    builds: int
    case: Path | None = None


def find_culprit(job: BisectJob) -> Culprit:
    """Narrow down between the inputs and the outputs. Raises EngineError, ResourceError or OutputError."""
    import onnx

    trt = load_tensorrt()
    register_kernels(job.build.plugin_form, job.build.architecture)
    form, _, changed = formed(trt, job.build)
    model = onnx.load_model_from_string(changed) if changed else onnx.load(job.build.onnx, load_external_data=False)
    source, wide = job.scratch / "built.onnx", job.scratch / "wide.onnx"
    onnx.save(model, source)
    upcast(source, wide, job.build.onnx.parent)
    probe = _Probe(trt, job, form, model, wide)
    tensors = _candidates(model)
    allowed = COSINE.get(job.build.precision, FEATURE)
    good, bad, distance = -1, len(tensors), 0.0
    while bad - good > 1:
        marked = sorted(
            {good + round((bad - good) * step / (MARKED + 1)) for step in range(1, MARKED + 1)} - {good, bad}
        )
        distances = probe.distances([tensors[index] for index in marked])
        say({"progress": {"name": "bisect", "step": probe.builds, "steps": 0}})
        first = next((n for n, value in enumerate(distances) if not value <= allowed), None)
        if first is None:
            good = marked[-1]
        else:
            bad, distance = marked[first], distances[first]
            good = marked[first - 1] if first else good
    if bad == len(tensors):
        return Culprit(tensor=None, allowed=allowed, builds=probe.builds)
    tensor = tensors[bad]
    node = next(node for node in model.graph.node if tensor in node.output)
    write_case(
        job.case, model, job.build.onnx.parent, node, probe.reference(next(probe.calls), list(node.input)), tensor
    )
    return Culprit(
        tensor=tensor, operator=node.op_type, distance=distance, allowed=allowed, builds=probe.builds, case=job.case
    )


class _Probe:
    """Builds engines that show tensors on the way, and runs them beside ONNX Runtime in float32."""

    def __init__(self, trt: Any, job: BisectJob, form: Any, model: Any, wide: Path) -> None:
        self.builds = 0
        self._trt, self._job, self._form, self._model, self._wide = trt, job, form, model, wide
        self._kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}

    @property
    def calls(self) -> Iterator[Call]:
        return read_calls(self._job.calls, self._job.build.spec.name)

    def distances(self, tensors: Sequence[str]) -> list[float]:
        """Cosine distance of each, the worst of all calls; infinite where the engine gives no numbers."""
        self.builds += 1
        spec = self._job.build.spec
        outputs = tuple(TensorSpec(name=name, dtype=FLOATS[self._kinds[name]], axes=()) for name in tensors)
        wider = spec.model_copy(update={"outputs": (*spec.outputs, *outputs)})
        options = self._job.build.options.model_copy(update={"refit": False, "stripped": False})
        plan = self._job.scratch / "probe.plan"
        job = self._job.build.model_copy(update={"spec": wider, "plan": plan, "options": options})
        reader = EngineReader(self._trt, job.plugins)
        write_plan(self._trt, reader, job, self._form, _with_outputs(self._model, tensors).SerializeToString())
        engine = reader.read(plan, job.options.version_compatible)
        reader.stream_weights(engine, None)
        device = Device(load_cudart())
        graph = TensorRTGraph(wider, self._trt, engine, device, reader.logger, recordings=0)
        worst = [0.0] * len(tensors)
        try:
            for call in self.calls:
                expected = self.reference(call, tensors)
                given = {t.name: device.upload(call.inputs[t.name], t.dtype) for t in spec.inputs}
                found = graph.run(given)
                for index, name in enumerate(tensors):
                    worst[index] = max(worst[index], _distance(found[name].to_host(), expected[name]))
        finally:
            graph.close()
            device.close()
        return worst

    def reference(self, call: Call, tensors: Sequence[str]) -> Arrays:
        """What tensors hold in ONNX Runtime, in float32 arithmetic; inputs and constants as they are."""
        import onnx
        import onnxruntime as ort

        model = onnx.load(self._wide, load_external_data=False)
        made = {output for node in model.graph.node for output in node.output}
        path = self._wide.with_name("shown.onnx")
        onnx.save(_with_outputs(model, [name for name in tensors if name in made]), path)
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        inputs = {entry.name: np.asarray(call.inputs[entry.name]) for entry in session.get_inputs()}
        names = [name for name in tensors if name in made]
        shown = dict(zip(names, session.run(names, inputs), strict=True)) if names else {}
        return shown | {name: inputs[name] for name in tensors if name in inputs}


def _candidates(model: Any) -> list[str]:
    """Tensors of floats on the way, in the order in which they are computed."""
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    ends = {value.name for value in model.graph.output}
    made = [output for node in model.graph.node for output in node.output]
    return [name for name in made if kinds.get(name) in FLOATS and name not in ends]


def _with_outputs(model: Any, tensors: Sequence[str]) -> Any:
    copy = type(model)()
    copy.CopyFrom(model)
    values = {value.name: value for value in copy.graph.value_info}
    there = {value.name for value in copy.graph.output}
    copy.graph.output.extend(values[name] for name in tensors if name not in there)
    return copy


def _distance(found: np.ndarray, expected: np.ndarray) -> float:
    return cosine_distance(found, expected) if np.isfinite(found).all() else float("inf")


if __name__ == "__main__":
    keep_stdout()
    run_job(BisectJob, find_culprit)
