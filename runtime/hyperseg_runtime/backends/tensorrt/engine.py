"""From a plan file to an engine that is ready to run: read, compared with its contract, weights in place."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hyperseg_runtime.backends.tensorrt.logger import make_logger, reason
from hyperseg_runtime.errors import BundleError, InputError, ResourceError
from hyperseg_runtime.graph_spec import GraphSpec

TYPE_NAMES = {"float32": "FLOAT", "float16": "HALF", "bfloat16": "BF16", "int64": "INT64", "bool": "BOOL"}
OUT_OF_MEMORY = ("out of memory", "outofmemory", "cudaerrormemoryallocation", "std::bad_alloc")


class EngineReader:
    """TensorRT's runtime with the plugin libraries that plans may need. One process may have several."""

    def __init__(self, trt: Any, plugins: Iterable[Path] = ()) -> None:
        self.trt = trt
        self.logger = make_logger(trt)
        self._runtime = trt.Runtime(self.logger)
        for library in plugins:
            self._load_plugins(library)

    def read(self, plan: Path, spec: GraphSpec, host_code: bool = False) -> Any:
        """The engine in `plan`. `host_code`: a version-compatible plan brings a runtime of its own, which is run.

        Raises BundleError where TensorRT cannot read it or it is not an engine for `spec`, ResourceError where
        memory runs out.
        """
        runtime = self._runtime
        runtime.engine_host_code_allowed = host_code
        engine = runtime.deserialize_cuda_engine(plan.read_bytes())
        if engine is None:
            raise self._unreadable(plan)
        problems = list(contract_problems(self.trt, engine, spec))
        if problems:
            raise BundleError(
                f"{plan.name} is no engine of graph {spec.name}; build it again:\n  " + "\n  ".join(problems)
            )
        return engine

    def fill(self, engine: Any, name: str, onnx: Path) -> None:
        """Give a plan that was built without weights those of the ONNX file."""
        trt = self.trt
        filler = trt.OnnxParserRefitter(trt.Refitter(engine, self.logger), self.logger)
        if not filler.refit_from_file(str(onnx)):
            raise BundleError(f"engine {name}: the weights of {onnx.name} do not fit it:\n  {reason(self.logger)}")

    def refit(self, engine: Any, name: str, weights: Mapping[str, np.ndarray]) -> None:
        """Exchange the named weights, before the engine is used. Raises InputError where that cannot be done."""
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
        missing = refitter.get_missing_weights()
        if missing or not refitter.refit_cuda_engine():
            needs = f"it also needs {', '.join(missing[:3])}" if missing else reason(self.logger)
            raise BundleError(f"engine {name} could not be refitted:\n  {needs}")

    def stream_weights(self, engine: Any, name: str, budget_bytes: int | None) -> None:
        """Keep at most `budget_bytes` of weights on the GPU; None keeps all there. Before the engine is used."""
        if budget_bytes is not None and not engine.streamable_weights_size:
            raise InputError(f"engine {name} was built without --weight-streaming: all its weights lie on the GPU")
        if engine.streamable_weights_size:
            engine.weight_streaming_budget_v2 = (
                engine.streamable_weights_size
                if budget_bytes is None
                else min(budget_bytes, engine.streamable_weights_size)
            )

    def _load_plugins(self, library: Path) -> None:
        if not library.is_file() or self.trt.get_plugin_registry().load_library(str(library)) is None:
            raise InputError(f"{library}: no library of TensorRT plugins; build one as kernels/README.md says")

    def _unreadable(self, plan: Path) -> BundleError | ResourceError:
        said = reason(self.logger)
        if any(sign in said.lower() for sign in OUT_OF_MEMORY):
            return ResourceError(f"{plan.name}: the GPU's memory ran out while it was read:\n  {said}")
        if "plugin" in said.lower():
            return BundleError(f"{plan.name} needs a plugin that is not there; name its library:\n  {said}")
        return BundleError(
            f"{plan.name}: TensorRT {self.trt.__version__} cannot read it; build it again on this machine:\n  {said}"
        )


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
