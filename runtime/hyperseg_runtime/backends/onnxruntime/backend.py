"""ONNX Runtime on the CPU: the default backend and the one every other backend is compared with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from hyperseg_runtime.backends.base import Buffer, Graph
from hyperseg_runtime.backends.onnxruntime.cpu_defaults import PROVIDERS, run_options, session_options, weight_bytes
from hyperseg_runtime.backends.onnxruntime.library import ort
from hyperseg_runtime.backends.onnxruntime.session import memory_explained, open_session
from hyperseg_runtime.contracts.graph_spec import GraphSpec, TensorSpec
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.errors import InputError


@dataclass(frozen=True)
class HostBuffer:
    """A numpy array and an OrtValue over the same host memory."""

    array: np.ndarray
    value: ort.OrtValue

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    def to_host(self) -> np.ndarray:
        return self.array


class OnnxRuntimeGraph:
    """One ONNX file in one session. Cache inputs and outputs are bound to the same memory."""

    def __init__(self, spec: GraphSpec, session: ort.InferenceSession, options: ort.RunOptions | None) -> None:
        self.spec = spec
        self._session = session
        self._options = options

    def run(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        self.spec.check_inputs(inputs)
        binding = self._session.io_binding()
        buffers: dict[str, HostBuffer] = {}
        for name, buffer in inputs.items():
            if not isinstance(buffer, HostBuffer):
                raise InputError(f"graph {self.spec.name}: {name} is not a buffer of this backend")
            buffers[name] = buffer
            binding.bind_ortvalue_input(name, buffer.value)
        for name in self.spec.output_names():
            if name in self.spec.in_place:
                binding.bind_ortvalue_output(name, buffers[self.spec.in_place[name]].value)
            else:
                binding.bind_output(name)
        with memory_explained(f"graph {self.spec.name}"):
            self._session.run_with_iobinding(binding, self._options)
        outputs: dict[str, Buffer] = {}
        for name, value in zip(self.spec.output_names(), binding.get_outputs(), strict=True):
            source = self.spec.in_place.get(name)
            outputs[name] = buffers[source] if source else HostBuffer(value.numpy(), value)
        return outputs


class OnnxRuntimeBackend:
    """Sessions on the CPU provider.

    `threads` bounds the threads of one graph, None takes every core. `custom_op_libraries` hold native
    kernels for operators of our own (`hyperseg_kernels.cpu_ops`); without them a graph
    runs by its function bodies, exactly as every other runtime sees it. `low_memory` leaves all weights in their files
    and gives memory back after every call: slower, see `cpu_defaults`. `emulated` computes quantised
    products as they are written, from floats that were rounded: what fp8, which no CPU multiplies, gives elsewhere.
    """

    name = "onnxruntime"
    precisions = frozenset({Precision.FP32, Precision.FP16})
    token_step = slot_step = 1
    on_device = images_on_device = False

    def __init__(
        self,
        threads: int | None = None,
        custom_op_libraries: Sequence[Path] = (),
        low_memory: bool = False,
        emulated: bool = False,
    ) -> None:
        self.threads = threads
        self.emulated = emulated
        self.custom_op_libraries = tuple(custom_op_libraries)
        self.low_memory = low_memory

    def open(self, spec: GraphSpec, path: Path) -> Graph:
        session = open_session(spec, path, partial(self.session_options, weight_bytes(path)), PROVIDERS)
        return OnnxRuntimeGraph(spec, session, run_options(spec, self.low_memory))

    def chained(self, first: Graph, second: Graph) -> None:
        """A call costs next to nothing here."""

    def session_options(self, weight_bytes: int = 0) -> "ort.SessionOptions":
        """Options of a session whose graph has so many bytes of weights in a file of its own."""
        options = session_options(weight_bytes, self.threads, self.custom_op_libraries, self.low_memory)
        if self.emulated:
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        return options

    def upload(self, array: np.ndarray) -> HostBuffer:
        array = np.ascontiguousarray(array)
        return HostBuffer(array, ort.OrtValue.ortvalue_from_numpy(array))

    def zeros(self, spec: TensorSpec, sizes: Mapping[str, int]) -> HostBuffer:
        shape = spec.shape(sizes)
        return self.upload(np.zeros(shape, spec.dtype))

    def copy_rows(self, target: Buffer, batch: int, start: int, source: Buffer, source_batch: int) -> None:
        rows = source.to_host()[source_batch]
        target.to_host()[batch, start : start + len(rows)] = rows

    def to_host(self, buffers: Sequence[Buffer]) -> list[np.ndarray]:
        return [buffer.to_host() for buffer in buffers]

    def close(self) -> None:
        """Sessions free their memory when the graphs are dropped; nothing else is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
