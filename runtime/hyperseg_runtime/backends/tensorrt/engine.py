"""From a plan file to an engine that is ready to run: read, compared with its contract, weights in place."""

from collections.abc import Iterable, Mapping
from functools import cache
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np

from hyperseg_runtime.backends.tensorrt.logger import make_logger, reason
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.errors import BundleError, EnvironmentMissingError, InputError, ResourceError

TYPE_NAMES = {
    "float32": "FLOAT", "float16": "HALF", "bfloat16": "BF16", "int64": "INT64", "uint8": "UINT8", "bool": "BOOL",
}  # fmt: skip
OUT_OF_MEMORY = ("out of memory", "outofmemory", "cudaerrormemoryallocation", "std::bad_alloc")


class EngineReader:
    """TensorRT's runtime with the plugin libraries that plans may need. One process may have several."""

    def __init__(self, trt: Any, plugins: Iterable[Path] = ()) -> None:
        self.trt = trt
        self.logger = make_logger(trt)
        self._runtime = started(trt, trt.Runtime, self.logger)
        for library in plugins:
            load_plugins(trt, library)

    def read(self, plan: Path, host_code: bool) -> Any:
        """The engine in `plan`. `host_code`: a version-compatible plan brings a runtime of its own, which is run.

        Raises BundleError where TensorRT cannot read it, ResourceError where memory runs out.
        """
        runtime = self._runtime
        runtime.engine_host_code_allowed = host_code
        with plan.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            engine = runtime.deserialize_cuda_engine(data)
        if engine is None:
            raise self._unreadable(plan)
        return engine

    def fill(self, engine: Any, name: str, onnx: Path) -> None:
        """Give a plan that was built without weights those of the ONNX file."""
        trt = self.trt
        refitter = trt.Refitter(engine, self.logger)
        onnx_refitter = trt.OnnxParserRefitter(refitter, self.logger)
        if not (onnx_refitter.refit_from_file(str(onnx)) and refitter.refit_cuda_engine()):
            raise BundleError(f"engine {name}: the weights of {onnx.name} do not fit it:\n  {reason(self.logger)}")

    def refit(self, engine: Any, name: str, weights: Mapping[str, np.ndarray], onnx: Path) -> None:
        """Exchange the named weights, before the engine is used; weights that TensorRT has combined with them come
        from the ONNX file. Raises InputError where weights cannot be exchanged, BundleError where these do not fit.
        """
        trt = self.trt
        if not engine.refittable:
            raise InputError(f"engine {name} was built with fixed weights; build it again with --refit")
        refitter = trt.Refitter(engine, self.logger)
        unknown = sorted(weights.keys() - set(refitter.get_all_weights()))
        if unknown:
            raise BundleError(f"engine {name} has no weights named {', '.join(unknown[:3])}; build it again")
        held = {key: np.ascontiguousarray(values) for key, values in weights.items()}  # until the engine has them
        for key, values in held.items():
            if not refitter.set_named_weights(key, trt.Weights(values)):
                raise BundleError(f"engine {name} does not take {key} {values.shape}:\n  {reason(self.logger)}")
        onnx_refitter = trt.OnnxParserRefitter(refitter, self.logger)
        complete = not refitter.get_missing_weights() or onnx_refitter.refit_from_file(str(onnx))
        if not (complete and refitter.refit_cuda_engine()):
            raise BundleError(f"engine {name} could not be refitted:\n  {reason(self.logger)}")

    def stream_weights(self, engine: Any, budget_bytes: int | None) -> None:
        """Keep at most `budget_bytes` of what can be streamed on the GPU; None keeps all there. Before the engine is
        used.

        Raises ResourceError where that bound does not hold: the method of C++ tells whether it does (NvInferRuntime.h,
        setWeightStreamingBudgetV2), the property of Python drops the answer (pyCore.cpp), so it is read again. After a
        refusal it is what it was before, the size of all.
        """
        streamable = engine.streamable_weights_size
        if not streamable:
            return
        asked = streamable if budget_bytes is None else min(budget_bytes, streamable)
        engine.weight_streaming_budget_v2 = asked
        if engine.weight_streaming_budget_v2 > asked:
            raise ResourceError(
                f"TensorRT does not keep the weights on the GPU within {asked / 1e9:.2f} GB; choose another "
                f"--weights-gb, or end other programs that use the GPU:\n  {reason(self.logger)}"
            )

    def _unreadable(self, plan: Path) -> BundleError | ResourceError:
        message = reason(self.logger)
        if any(sign in message.lower() for sign in OUT_OF_MEMORY):
            return ResourceError(f"{plan.name}: the GPU's memory ran out while it was read:\n  {message}")
        if "plugin" in message.lower():
            return BundleError(
                f"{plan.name} needs a plugin that is not there; build it again, if with its library (build --plugin):\n"
                f"  {message}"
            )
        return BundleError(
            f"{plan.name}: TensorRT {self.trt.__version__} cannot read it; build it again on this machine:\n  {message}"
        )


def streams_weights(engine: Any) -> bool:
    """Whether weights lie on the host and are copied in every call, which then is synchronous and cannot be recorded
    (NvInferRuntime.h 11.1, IExecutionContext::enqueueV3, ICudaEngine::setWeightStreamingBudgetV2).
    """
    streamable = engine.streamable_weights_size
    return bool(streamable) and engine.weight_streaming_budget_v2 < streamable


@cache
def load_plugins(trt: Any, library: Path) -> None:
    """Register the plugins of a library, once in a process: TensorRT refuses to do it again. Raises InputError."""
    if not library.is_file() or trt.get_plugin_registry().load_library(str(library)) is None:
        raise InputError(f"{library}: no library of TensorRT plugins; build one as kernels/README.md says")


def started(trt: Any, kind: Any, logger: Any) -> Any:
    """TensorRT's Builder or Runtime. Raises EnvironmentMissingError where its library cannot start."""
    try:
        return kind(logger)
    except TypeError as error:  # "factory function returned nullptr"
        raise EnvironmentMissingError(
            f"TensorRT {trt.__version__} cannot start on this machine, most likely the driver is too old for it "
            f"(hyperseg-trt doctor shows both):\n  {reason(logger)}"
        ) from error


def tensor_type(trt: Any, dtype: str) -> Any:
    """TensorRT's name for a DType."""
    return getattr(trt.DataType, TYPE_NAMES[dtype])


def contract_problems(trt: Any, engine: Any, spec: GraphSpec) -> list[str]:
    """Where inputs, outputs, their types, their places and the caches that share memory differ from `spec`."""
    found = {
        name: (engine.get_tensor_mode(name), engine.get_tensor_dtype(name), engine.get_tensor_location(name))
        for name in map(engine.get_tensor_name, range(engine.num_io_tensors))
    }
    sides = [(trt.TensorIOMode.INPUT, spec.inputs), (trt.TensorIOMode.OUTPUT, spec.outputs)]
    place = trt.TensorLocation.DEVICE
    wanted = {t.name: (mode, tensor_type(trt, t.dtype), place) for mode, tensors in sides for t in tensors}
    problems = [
        f"tensor {name} is {found.get(name, 'missing')}, planned was {wanted.get(name, 'no such tensor')}"
        for name in sorted(found.keys() | wanted.keys())
        if found.get(name) != wanted.get(name)
    ]
    for output, source in spec.in_place.items():
        if output in found and engine.get_aliased_input_tensor(output) != source:
            problems.append(f"{output} is not written into the memory of {source}")
    return problems
