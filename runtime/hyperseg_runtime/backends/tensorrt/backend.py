"""The engines of a bundle that were built for this machine."""

from pathlib import Path

import numpy as np

from hyperseg_runtime.backends.base import Graph
from hyperseg_runtime.backends.cuda.backend import DeviceBackend
from hyperseg_runtime.backends.cuda.device import Device
from hyperseg_runtime.backends.cuda.driver import load_cudart
from hyperseg_runtime.backends.cuda.waiting import WaitingGraph
from hyperseg_runtime.backends.tensorrt.chain import TensorRTChain
from hyperseg_runtime.backends.tensorrt.engine import EngineReader, contract_problems, load_plugins
from hyperseg_runtime.backends.tensorrt.graph import TensorRTGraph
from hyperseg_runtime.backends.tensorrt.machine import find_machine, load_tensorrt
from hyperseg_runtime.bundle.engines import (
    EngineEntry,
    EngineManifest,
    engine_path,
    find_engines,
    plugin_libraries,
)
from hyperseg_runtime.bundle.manifest import AdapterEntry
from hyperseg_runtime.bundle.opening import Bundle
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.contracts.precision import Precision
from hyperseg_runtime.errors import BundleError, InputError

RECORDINGS = 8
"""CUDA graphs kept per graph; each has inputs and outputs of its own."""


class TensorRTBackend(DeviceBackend):
    """Runs the engines of one bundle on the current CUDA device (choose another with CUDA_VISIBLE_DEVICES).

    Stages hand buffers on without the host; what does not depend on each other runs side by side. Use it from one
    thread at a time: `Pipeline` serves the calls of its threads one after another. Close it, or use it as a context
    manager; closing frees the GPU's memory.

    `accept_unmeasured` also runs engines whose results were never compared with the ONNX graph; those that failed
    the comparison never run. `weight_streaming_bytes` bounds the weights of each engine on the GPU, for engines
    built with --weight-streaming. `recordings` bounds the CUDA graphs per graph, 0 does without. With
    `overlap` off every call waits until it is done: slower, but then the time of a stage is that of its graph. `target`
    names the folder of another machine's engines, for those built with --hardware-compatible or --version-compatible.
    Libraries of plugins that lie beside the engines are loaded with the engines that need them.

    Raises EnvironmentMissingError without TensorRT, cuda-python or a GPU, BundleError without engines for them.
    """

    name = "tensorrt"
    precisions = frozenset(Precision)
    token_step = 64
    """A text a word longer then is a call that was recorded before. Kernels work on tiles of 64 rows and more, so that
    the rows that fill the last one should cost little; not measured.
    """
    slot_step = 256
    """The same for the slots of the cache: an answer is recorded anew each time it reaches so many."""

    def __init__(
        self,
        bundle: Bundle,
        accept_unmeasured: bool = False,
        weight_streaming_bytes: int | None = None,
        recordings: int = RECORDINGS,
        overlap: bool = True,
        target: str | None = None,
    ) -> None:
        trt, cudart = load_tensorrt(), load_cudart()
        self._bundle = bundle.directory
        self._manifest = bundle.manifest
        self._folder, self._engines = find_engines(self._bundle, find_machine(), target)
        self._accept_unmeasured = accept_unmeasured
        self._weight_streaming_bytes = weight_streaming_bytes
        self._recordings = recordings
        self._reader = EngineReader(trt)
        super().__init__(Device(cudart), overlap)

    @property
    def engines(self) -> EngineManifest:
        """What the bundle has for this machine."""
        return self._engines

    def open(self, spec: GraphSpec, path: Path) -> TensorRTGraph | WaitingGraph:
        """The engine of the graph whose ONNX file is `path`.

        Raises BundleError where there is none, it was made from other files, is damaged, was not compared with
        the ONNX graph or failed that; ResourceError where the GPU has no room for it.
        """
        self._device.require_open()
        if not path.resolve().is_relative_to(self._bundle.resolve()):
            raise InputError(f"{path}: this backend runs the engines of {self._bundle}")
        entry = self._engines.usable(spec.name, self._accept_unmeasured)
        if self._weight_streaming_bytes is not None and not entry.weight_streaming:
            raise InputError(
                f"the engine of graph {spec.name} was built without --weight-streaming: all its weights lie on the GPU"
            )
        changed = entry.changed_files(self._manifest)
        adapter = self._swapped_adapter(entry, changed)
        reader = self._reader
        for library in plugin_libraries(self._folder, entry):
            load_plugins(reader.trt, library)
        engine = reader.read(engine_path(self._folder, entry), entry.version_compatible)
        problems = contract_problems(reader.trt, engine, spec)
        if problems:
            raise BundleError(
                f"{spec.name}.plan is no engine of this graph; build it again:\n  " + "\n  ".join(problems)
            )
        if entry.stripped and adapter:
            raise BundleError(
                f"the engine of graph {spec.name} has no weights (--stripped) and takes back only those it was built "
                f"from, but the bundle has another adapter now; run: hyperseg-trt build {self._bundle}"
            )
        if entry.stripped:
            reader.fill(engine, spec.name, path)
        elif adapter:
            reader.refit(engine, spec.name, read_factors(self._bundle, adapter), path)
        reader.stream_weights(engine, self._weight_streaming_bytes)
        return self.opened(TensorRTGraph(spec, reader.trt, engine, self._device, reader.logger, self._recordings))

    def chained(self, first: Graph, second: Graph) -> TensorRTChain | None:
        if isinstance(first, TensorRTGraph) and isinstance(second, TensorRTGraph):
            return TensorRTChain(first, second, self._device)
        return None  # each waits for itself, or somebody looks at it

    def _swapped_adapter(self, entry: EngineEntry, changed: set[str]) -> AdapterEntry | None:
        """The adapter to refit an engine with, if that is all that differs from the files it was built from."""
        if not changed:
            return None
        adapter = self._manifest.adapter
        if adapter is None or changed != {adapter.file}:
            raise BundleError(
                f"the engine of graph {entry.graph} was built from other files than the bundle has now "
                f"({', '.join(sorted(changed))} changed); run: hyperseg-trt build {self._bundle}"
            )
        if not self._accept_unmeasured:
            raise BundleError(
                f"the bundle has another adapter than the engine of graph {entry.graph} was compared with; "
                "run build again, or accept that it was not measured (--accept-unmeasured)"
            )
        return adapter


def read_factors(bundle: Path, adapter: AdapterEntry) -> dict[str, np.ndarray]:
    """An adapter's factors by the names of the graph's initializers, float32."""
    data = (bundle / adapter.file).read_bytes()
    return {
        factor.name: np.frombuffer(data, "<f4", factor.shape[0] * factor.shape[1], factor.offset).reshape(factor.shape)
        for factor in adapter.factors
    }
