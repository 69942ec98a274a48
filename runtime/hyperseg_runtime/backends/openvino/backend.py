"""OpenVINO on the CPU, and ONNX Runtime for the graphs that it cannot read; buffers are the same for both.

What is relied on, and where it is written (release 2026.4):

* Where a processor has bfloat16, `INFERENCE_PRECISION_HINT` is bf16 unless told otherwise (docs, Precision Control):
  here float32 means float32, and bfloat16 is asked for by name.
* `ov.Tensor(array, shared_memory=True)` takes the array's memory; a tensor set for an output is what is written to
  (docs, OpenVINO Inference Request), also where the axes of the model are dynamic.
* The ONNX frontend has no TensorScatter (supported_ops.md): graphs that update caches in place stay with ONNX Runtime.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hyperseg_kernels import openvino_ops
from hyperseg_runtime.backends.base import Buffer, Graph
from hyperseg_runtime.backends.onnxruntime.backend import HostBuffer, OnnxRuntimeBackend
from hyperseg_runtime.backends.onnxruntime.session import memory_explained
from hyperseg_runtime.backends.openvino.library import ov, require_bf16
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.errors import BundleError, InputError, Notice, ResourceError


class OpenVinoGraph:
    """One compiled model with one request. Results are written into buffers that are made for each call."""

    def __init__(self, spec: GraphSpec, compiled: Any, upload: Any) -> None:
        self.spec = spec
        self._request = compiled.create_infer_request()
        self._upload = upload

    def run(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        self.spec.check_inputs(inputs)
        sizes = self.spec.sizes(inputs)
        outputs = {
            tensor.name: self._upload(np.empty(tensor.shape(sizes), str(tensor.dtype))) for tensor in self.spec.outputs
        }
        for name, buffer in (*inputs.items(), *outputs.items()):
            if not isinstance(buffer, HostBuffer):
                raise InputError(f"graph {self.spec.name}: {name} is not a buffer of this backend")
            # It shares no memory that it might not write, such as a mapped table: that is copied.
            shared = buffer.array.flags.writeable
            self._request.set_tensor(name, ov.Tensor(buffer.array, shared_memory=shared))
        with memory_explained(f"graph {self.spec.name}"):
            self._request.infer()
        return outputs


class OpenVinoBackend(OnnxRuntimeBackend):
    """Models compiled for this CPU; a warning names each graph that ONNX Runtime runs instead.

    With `bf16` matrix products are computed in bfloat16: half the time where the processor has instructions for it,
    and about three digits. Raises EnvironmentMissingError where it has none, or without OpenVINO.
    """

    name = "openvino"
    precisions = frozenset({Precision.FP32, Precision.FP16})

    def __init__(
        self,
        threads: int | None = None,
        custom_op_libraries: Sequence[Path] = (),
        low_memory: bool = False,
        bf16: bool = False,
    ) -> None:
        super().__init__(threads, custom_op_libraries, low_memory)
        self._core = ov.Core()
        openvino_ops.add_to(self._core)
        if bf16:
            require_bf16(self._core)
        self._settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads or 0,
        }

    def open(self, spec: GraphSpec, path: Path) -> Graph:
        if reason := why_not(spec):
            warnings.warn(Notice(f"graph {spec.name}: run by ONNX Runtime, because {reason}"), stacklevel=2)
            return super().open(spec, path)
        try:
            with memory_explained(path.name):
                model = self._core.read_model(path)
                compiled = self._core.compile_model(model, "CPU", self._settings)
        except ResourceError:
            raise
        except Exception as error:  # the library raises RuntimeError for everything
            raise BundleError(f"{path.name}: OpenVINO {ov.__version__} cannot open it: {error}") from error
        _compare(spec, compiled)
        return OpenVinoGraph(spec, compiled, self.upload)


def why_not(spec: GraphSpec) -> str | None:
    """Why OpenVINO cannot run a graph; None if it can."""
    if spec.in_place:
        return "OpenVINO has no operator that updates a cache where it lies"
    known = {str(operator) for operator in openvino_ops.CONVERTERS}
    foreign = [name for name in spec.custom_ops if name not in known]
    return f"OpenVINO has no {', '.join(foreign)}" if foreign else None


def _compare(spec: GraphSpec, compiled: Any) -> None:
    """BundleError unless the file has exactly the tensors of `spec`, by name."""
    for kind, expected, found in (
        ("inputs", spec.input_names(), compiled.inputs),
        ("outputs", spec.output_names(), compiled.outputs),
    ):
        names = [name for port in found for name in port.get_names() if name in expected]
        if sorted(names) != sorted(expected) or len(found) != len(expected):
            raise BundleError(
                f"graph {spec.name}: the manifest says {kind} {', '.join(expected)}, the ONNX file has "
                f"{', '.join(port.get_any_name() for port in found)}"
            )
