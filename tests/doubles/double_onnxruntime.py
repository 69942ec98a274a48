"""The sessions of onnxruntime-gpu 1.31 on the double's GPU: what IO binding asks of whoever binds memory.

Facts are those that `backends/onnxruntime/cuda.py` names. What the library would silently copy from or to the
host is an error here: nothing between two graphs may do that.
"""

import os
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import onnx
import onnxruntime as ort
from double_engine import Kernels
from double_gpu import GPU, KIND_DEVICE, Stream
from onnxruntime import RunOptions, SessionOptions, __version__

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
OPTIONS = {"device_id", "user_compute_stream", "use_tf32", "arena_extend_strategy"}
SKIP_WAITING = "disable_synchronize_execution_providers"
__all__ = [
    "InferenceSession", "RunOptions", "SessionOptions", "__version__", "get_available_providers", "preload_dlls",
    "set_default_logger_severity",
]  # fmt: skip

waited: list[str] = []
"""Files of the sessions whose calls made the host wait."""


def get_available_providers() -> list[str]:
    return [CUDA, CPU]


def set_default_logger_severity(severity: int) -> None:
    """Of the process: the library itself is left as it is."""
    assert 0 <= severity <= 4


def preload_dlls() -> None:
    pass


class HostCopyError(Exception):
    """The library would copy through the host."""


def InferenceSession(path: Any, options: Any, providers: Sequence[Any], enable_fallback: int = 1) -> Any:  # noqa: N802
    """A session of the library itself where CUDA is not asked for."""
    assert not enable_fallback, "a provider that fails would be replaced by the CPU"
    asked = dict(provider for provider in providers if not isinstance(provider, str))
    opened = ort.InferenceSession(path, options, providers=[CPU])
    return CudaSession(path, opened, asked[CUDA]) if CUDA in asked else opened


class CudaSession:
    def __init__(self, path: Any, session: ort.InferenceSession, options: Mapping[str, str]) -> None:
        if unknown := options.keys() - OPTIONS:
            raise RuntimeError(f"Unknown provider option: {sorted(unknown)}")
        self._path, self._session = str(path), session
        self._providers = [CPU] if os.environ.get("DOUBLE_FAULT") == "no CUDA libraries" else [CUDA, CPU]
        self.kernels = Kernels(onnx.load(path, load_external_data=False))
        self.kernels._session = session
        self._handle = int(options.get("user_compute_stream", "0"))
        self._own = Stream()  # ordered against nothing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def get_providers(self) -> list[str]:
        return self._providers

    def get_provider_graph_assignment_info(self) -> list[Any]:
        """Sizes are computed on the CPU, and what DOUBLE_HOST_OPERATOR names."""
        on_host = {"Shape", os.environ.get("DOUBLE_HOST_OPERATOR")}
        return [
            SimpleNamespace(ep_name=CPU if node.op_type in on_host else CUDA, get_nodes=lambda node=node: [node])
            for part in self._session.get_provider_graph_assignment_info()
            for node in part.get_nodes()
        ]

    def io_binding(self) -> "IOBinding":
        return IOBinding(self)

    def run_with_iobinding(self, binding: "IOBinding", options: Any) -> None:
        kernels = self.kernels
        if unbound := (kernels.inputs.keys() | kernels.outputs.keys()) - binding.addresses.keys():
            raise HostCopyError(f"{sorted(unbound)} are not bound")
        if os.environ.get("DOUBLE_FAULT") == "no memory for calls":
            raise RuntimeError("BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 1")
        addresses, shapes = dict(binding.addresses), dict(binding.shapes)
        for name in kernels.outputs:
            assert kernels.output_shape(name, shapes) == shapes[name], f"{name} is bound with {shapes[name]}"
        stream = GPU.get(self._handle, Stream) if self._handle else self._own
        assert isinstance(stream, Stream)
        stream.put(lambda: kernels.run(addresses, shapes))
        if options.get_run_config_entry(SKIP_WAITING) != "1":
            waited.append(self._path)
            stream.run_to(None)


class IOBinding:
    def __init__(self, session: CudaSession) -> None:
        self._kernels = session.kernels
        self.addresses: dict[str, int] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}

    def bind_input(
        self, name: str, device_type: str, device_id: int, element_type: int, shape: Sequence[int], buffer_ptr: int
    ) -> None:
        self._bind(self._kernels.inputs[name], name, device_type, device_id, element_type, shape, buffer_ptr)

    def bind_output(
        self, name: str, device_type: str, device_id: int, element_type: int, shape: Sequence[int], buffer_ptr: int
    ) -> None:
        self._bind(self._kernels.outputs[name], name, device_type, device_id, element_type, shape, buffer_ptr)

    def _bind(
        self, expected: int, name: str, place: str, device: int, element: int, shape: Sequence[int], address: int
    ) -> None:
        if element != expected:
            raise RuntimeError(f"[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Unexpected data type of {name}: {element}")
        size = int(ort.OrtValue.ortvalue_from_shape_and_type(list(shape), element).tensor_size_in_bytes())
        if (place, device) != ("cuda", 0) or GPU.memory[KIND_DEVICE].find(address, size) is None:
            raise HostCopyError(f"{name}: {size} bytes at {address:#x} are no memory of the GPU")
        self.addresses[name], self.shapes[name] = address, tuple(shape)
