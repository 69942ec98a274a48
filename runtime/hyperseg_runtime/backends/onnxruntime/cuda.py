"""ONNX Runtime on one NVIDIA GPU: the graphs as they are, for machines without TensorRT.

Run on an H200 with onnxruntime-gpu 1.31.1 and CUDA 13.0 (benchmarks/results/h200/onnxruntime_cuda.json). What is relied
on, and where it is written:

* `get_available_providers` says what the package was built with. Where CUDA's libraries cannot be loaded the session is
  made on the CPU, and the reason only logged (microsoft/onnxruntime#23372): `get_providers` of the session is asked.
* `user_compute_stream` takes the address of a CUDA stream as text (#19229); it has to outlive the session. Memory bound
  by its address carries no stream: who binds it orders the work (#26609). Here the events of the blocks do.
* `disable_synchronize_execution_providers` leaves out waiting for that stream at the end of a call
  (onnxruntime_run_options_config_keys.h). What is bound where the graph needs it is not copied (docs, I/O Binding).
* TensorScatter does not copy where both caches lie at one address (core/providers/cuda/llm/tensorscatter.cc);
  Attention of opset 24 takes 4-D tensors and a bool mask on CUDA since #27542.
* docs/OperatorKernels.md lists a kernel for every operator of our graphs in the types they have there, but for two that
  are made of others (tests/cuda_kernels.py holds the list and what it was read from).
* `use_tf32` is on unless told otherwise, and `arena_extend_strategy` takes memory in powers of two (docs, CUDA
  Execution Provider): float32 means float32 here, and the sessions of all graphs share one GPU.
"""

import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.backends.cuda.backend import DeviceBackend
from hyperseg_runtime.backends.cuda.device import Device, DeviceBuffer
from hyperseg_runtime.backends.cuda.driver import load_cudart, require_driver
from hyperseg_runtime.backends.cuda.memory import using
from hyperseg_runtime.backends.cuda.streams import Stream
from hyperseg_runtime.backends.cuda.waiting import WaitingGraph
from hyperseg_runtime.backends.onnxruntime.library import ort
from hyperseg_runtime.backends.onnxruntime.session import DISABLED, RELU_REWRITE, memory_explained, open_session
from hyperseg_runtime.contracts.graph_spec import DType, GraphSpec
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.errors import EnvironmentMissingError
from hyperseg_runtime.importable import owners

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
INSTALL = "pip install 'hyperseg-trt[gpu]'"
ELEMENTS = {
    DType.FLOAT32: 1, DType.UINT8: 2, DType.INT8: 3, DType.INT64: 7, DType.BOOL: 9, DType.FLOAT16: 10,
}  # fmt: skip
"""TensorProto.DataType (onnx.proto) of what graphs of these precisions take and give."""
ERRORS = 3
"""Severity of what is logged, from 0 (verbose) to 4 (fatal)."""
SIZE_OPERATORS = frozenset(
    "Shape Size Gather Concat Slice Squeeze Unsqueeze Cast Range Add Sub Mul Div Mod Equal Where Max Min Reshape "
    "ConstantOfShape".split()
)
"""What ONNX Runtime puts on the host by design where it computes sizes alone (GetCpuPreferredNodes)."""


class OnnxRuntimeCudaGraph:
    """One session with a stream of its own, which it closes; the events of the buffers order it with others."""

    def __init__(self, spec: GraphSpec, session: Any, stream: Stream, device: Device) -> None:
        self.spec = spec
        self._session = session
        self._stream = stream
        self._device = device
        self._call = ort.RunOptions()
        self._call.add_run_config_entry("disable_synchronize_execution_providers", "1")

    def run(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        self.spec.check_inputs(inputs)
        given = {name: self._device.own(buffer, f"graph {self.spec.name}: {name}") for name, buffer in inputs.items()}
        sizes = self.spec.sizes(inputs)
        outputs = {
            tensor.name: given[self.spec.in_place[tensor.name]]
            if tensor.name in self.spec.in_place
            else self._device.empty(tensor.dtype, tensor.shape(sizes))
            for tensor in self.spec.outputs
        }
        with using(
            self._stream, [buffer.block for buffer in given.values()], [buffer.block for buffer in outputs.values()]
        ):
            binding = self._session.io_binding()
            for name, buffer in given.items():
                binding.bind_input(name, **_place(buffer))
            for name, buffer in outputs.items():
                binding.bind_output(name, **_place(buffer))
            with memory_explained(f"graph {self.spec.name}"):
                self._session.run_with_iobinding(binding, self._call)
        for buffer in outputs.values():
            buffer.host_copy = None
        return dict(outputs)

    def wait(self) -> None:
        """Let the host wait for all calls so far."""
        self._stream.synchronise()

    def close(self) -> None:
        self._stream.synchronise()
        self._session = None  # before its stream
        self._stream.close()


class OnnxRuntimeCudaBackend(DeviceBackend):
    """Sessions on the current CUDA device (choose another with CUDA_VISIBLE_DEVICES).

    Buffers are device memory, as with TensorRT: stages hand them on without the host, caches are updated where they
    lie, graphs that do not depend on each other run side by side. With `overlap` off every call waits until it is
    done. Use it from one thread at a time. Close it, or use it as a context manager.

    Raises EnvironmentMissingError without onnxruntime-gpu, cuda-python, CUDA's libraries or a GPU.
    """

    name = "onnxruntime-cuda"
    precisions = frozenset({Precision.FP32, Precision.FP16})
    token_step = slot_step = 1

    def __init__(self, overlap: bool = True) -> None:
        require_cuda_build()
        cudart = load_cudart(f"run: {INSTALL}")
        require_driver(cudart)
        ort.preload_dlls()  # CUDA and cuDNN from their packages, which nothing else would find
        # onnxruntime-gpu 1.31.1 warns for each session that CUDA is no plugin ("No registered plugin EP device found
        # for 'CUDAExecutionProvider'"), then takes the provider that is built in. Errors are told as before.
        ort.set_default_logger_severity(ERRORS)
        super().__init__(Device(cudart), overlap)

    def open(self, spec: GraphSpec, path: Path) -> OnnxRuntimeCudaGraph | WaitingGraph:
        self._device.require_open()
        stream = Stream(self._device.cudart)
        try:
            session = open_on_cuda(spec, path, stream)
        except BaseException:
            stream.close()
            raise
        return self.opened(OnnxRuntimeCudaGraph(spec, session, stream, self._device))


def require_cuda_build() -> None:
    """Raise EnvironmentMissingError where the `onnxruntime` that imports was built without CUDA."""
    if CUDA in ort.get_available_providers():
        return
    packages, found = owners("onnxruntime"), ", ".join(ort.get_available_providers())
    several = "; its packages overwrite each other" if len(packages) > 1 else ""
    raise EnvironmentMissingError(
        f"this ONNX Runtime ({', '.join(packages) or ort.__version__}) has no {CUDA}, it has {found}{several}; "
        f"run: pip uninstall -y {' '.join(packages) or 'onnxruntime'} && {INSTALL}"
    )


def open_on_cuda(spec: GraphSpec, path: Path, stream: Stream) -> Any:
    """A session that works in `stream`; warns of operators that have no kernel on CUDA.

    Raises EnvironmentMissingError where the session would be one on the CPU.
    """
    session = open_session(spec, path, _session_options, _providers(stream))
    if CUDA not in session.get_providers():
        raise EnvironmentMissingError(
            f"ONNX Runtime cannot start CUDA and would run graph {spec.name} on the CPU; its own lines above say "
            f"what is missing; run: {INSTALL}"
        )
    if on_host := operators_on_host(session):
        listed = ", ".join(f"{name} ({count})" for name, count in sorted(on_host.items()))
        warnings.warn(f"graph {spec.name}: ONNX Runtime runs these on the CPU, slower: {listed}", stacklevel=2)
    return session


def operators_on_host(session: Any) -> Counter[str]:
    """How often each operator that is more than arithmetic on sizes runs on the CPU inside a graph."""
    assigned = session.get_provider_graph_assignment_info()
    return Counter(
        node.op_type
        for part in assigned
        if part.ep_name == CPU
        for node in part.get_nodes()
        if node.op_type not in SIZE_OPERATORS
    )


def _session_options() -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = ERRORS
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.add_session_config_entry(DISABLED, RELU_REWRITE)
    return options


def _providers(stream: Stream) -> list[Any]:
    """CUDA, and the CPU for what it has no kernel for: ONNX Runtime adds it in any case."""
    cuda = {
        "device_id": "0",
        "user_compute_stream": str(stream.handle),
        "use_tf32": "0",
        "arena_extend_strategy": "kSameAsRequested",
    }
    return [(CUDA, cuda), CPU]


def _place(buffer: DeviceBuffer) -> dict[str, Any]:
    """Arguments of `bind_input` and `bind_output`."""
    return {
        "device_type": "cuda",
        "device_id": 0,
        "element_type": ELEMENTS[buffer.dtype],
        "shape": buffer.shape,
        "buffer_ptr": buffer.block.address,
    }
