"""The running half of TensorRT's double: from a plan to numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from double_engine import Kernels, unpack_plan
from double_gpu import ALIGNMENT, GPU, Stream
from double_inspector import EngineInspector
from double_names import VERSION, DataType, ILogger, Listed, TensorIOMode, TensorLocation, fault
from double_plugins import CREATORS, load_creators

_LIBRARIES: list[str] = []


class ICudaEngine(Listed):
    def __init__(self, plan: dict[str, Any], model: onnx.ModelProto, logger: ILogger) -> None:
        self._plan, self._kernels, self._logger = plan, Kernels(model), logger
        self._tensors = {name: (mode, kind) for name, mode, kind in plan["tensors"]}
        self._contexts = 0
        self._budget = plan["streamable"]  # nothing is streamed unless asked for
        self._empty = plan["stripped"]

    num_io_tensors = property(lambda self: len(self._tensors))
    num_optimization_profiles = property(lambda self: len(self._plan["profiles"]))
    refittable = property(lambda self: bool(self._plan["refit"]))
    streamable_weights_size = property(lambda self: self._plan["streamable"])

    @property
    def weight_streaming_budget_v2(self) -> int:
        return self._budget

    @weight_streaming_budget_v2.setter
    def weight_streaming_budget_v2(self, size: int) -> None:
        """What the C++ method returns is dropped by the bindings: pyCore.cpp, `def_property`, release 11.1."""
        assert not self._contexts and 0 <= size <= self.streamable_weights_size
        if fault() == "refused budget":
            self._logger.log(ILogger.ERROR, "[budget] Failed to set the weight streaming budget")
        else:
            self._budget = size

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> Any:
        return TensorIOMode(self._tensors[name][0])

    def get_tensor_dtype(self, name: str) -> Any:
        return DataType(self._tensors[name][1])

    def get_tensor_location(self, name: str) -> Any:
        return TensorLocation.DEVICE

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return [tuple(shape) for shape in self._plan["profiles"][profile][name]]

    def get_aliased_input_tensor(self, name: str) -> str | None:
        return self._plan["aliases"].get(name)

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector(self)

    def create_execution_context(self, strategy: Any) -> "IExecutionContext | None":
        if fault() == "no memory for contexts":
            self._logger.log(ILogger.ERROR, "Error Code 2: OutOfMemory (requested size was 123 bytes)")
            return None
        self._contexts += 1
        return IExecutionContext(self)


class IExecutionContext(Listed):
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine, self._profile = engine, 0
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._warm: object = None

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self._profile, self._shapes = profile, {}
        return 0 <= profile < self._engine.num_optimization_profiles

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        low, _, high = self._engine.get_tensor_profile_shape(name, self._profile)
        if len(shape) != len(low) or not all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True)):
            return self._fail(f"IExecutionContext::setInputShape: {name} {tuple(shape)} is outside the profile")
        self._shapes[name] = tuple(shape)
        return True

    def infer_shapes(self) -> list[str]:
        if fault() == "cannot infer shapes":
            self._fail("IExecutionContext::inferShapes: Error Code 3: API Usage Error")
            raise RuntimeError("infer_shapes error code: -1")
        return [name for name in self._engine._kernels.inputs if name not in self._shapes]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shapes.get(name) or self._engine._kernels.output_shape(name, self._shapes)

    def set_tensor_address(self, name: str, address: int) -> bool:
        if name not in self._engine._tensors or address % ALIGNMENT:
            return self._fail(f"setTensorAddress: {name} at {address:#x}")
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        engine, queue = self._engine, GPU.get(stream, Stream)
        missing = [name for name in engine._tensors if name not in self._addresses] + self.infer_shapes()
        if missing:
            return self._fail(f"enqueueV3: neither address nor shape of {missing}")
        for output, source in engine._plan["aliases"].items():
            if self._addresses[output] != self._addresses[source]:
                return self._fail(f"enqueueV3: {output} must have the address of {source}")
        if engine._empty:
            return self._fail("enqueueV3: the engine has no weights, refit it first")
        state = (self._profile, dict(self._shapes))
        streaming = engine._budget < engine.streamable_weights_size
        if queue.recording is not None and streaming:
            queue.spoiled = True
            return self._fail("enqueueV3: the engine streams weights, which cannot be captured")
        if queue.recording is not None and self._warm != state:
            queue.spoiled = True
            return self._fail("enqueueV3: shapes have changed since the last call, which cannot be recorded")
        self._warm = state
        spoil = SPOILS.get(fault() if queue.recording is None else f"recorded: {fault()}")
        if fault() == "wrong outputs" and len(engine._kernels.outputs) == 1:  # right as soon as others are shown
            spoil = SPOILS["wrong numbers"]
        if fault() == "wrong attention" and engine._kernels.attends:
            spoil = SPOILS["wrong numbers"]
        if fault() == "wrong plugin" and any(layer["op"] == "PluginV3" for layer in engine._plan["layers"]):
            spoil = SPOILS["wrong numbers"]
        addresses, shapes = dict(self._addresses), dict(self._shapes)
        recorded = queue.recording is not None
        GPU.ledger.enqueues += not recorded
        unwritten = engine._plan["aliases"] if recorded and fault() == "replay without caches" else ()

        def work() -> None:
            """What a context keeps on the device for its shapes is not part of a recording."""
            stale = recorded and self._warm != state
            engine._kernels.run(addresses, shapes, SPOILS["nan"] if stale else spoil, unwritten)

        queue.put(work)
        if streaming:
            queue.run_to(None)  # enqueueV3 is synchronous then
        return True

    def _fail(self, reason: str) -> bool:
        self._engine._logger.log(ILogger.ERROR, reason)
        return False


class Weights(Listed):
    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    numpy = property(lambda self: self._values)


class Refitter(Listed):
    def __init__(self, engine: ICudaEngine, logger: ILogger) -> None:
        self._engine, self._logger, self._new = engine, logger, {}
        self._old = {tensor.name: tensor for tensor in engine._kernels.model.graph.initializer}

    def get_all_weights(self) -> list[str]:
        return list(self._engine._plan["refit"])

    def get_missing_weights(self) -> list[str]:
        wanted = self._engine._empty or fault() == "combined weights"
        return [name for name in self.get_all_weights() if name not in self._new] if wanted else []

    def set_named_weights(self, name: str, weights: Weights) -> bool:
        known = self._old.get(name)
        fits = known is not None and tuple(known.dims) == weights._values.shape
        if not fits or known.data_type != onnx.TensorProto.FLOAT or name not in self.get_all_weights():
            self._logger.log(ILogger.ERROR, f"Refitter: {name} has another type or size")
            return False
        self._new[name] = weights._values
        return True

    def refit_cuda_engine(self) -> bool:
        if missing := self.get_missing_weights():
            self._logger.log(ILogger.ERROR, f"Refitter: missing {', '.join(missing[:3])}")
            return False
        assert self._engine.refittable and not self._engine._contexts
        self._engine._kernels.replace_weights(self._new)
        self._engine._empty = False
        return True


class OnnxParserRefitter(Listed):
    def __init__(self, refitter: Refitter, logger: ILogger) -> None:
        self._refitter = refitter

    def refit_from_file(self, path: str) -> bool:
        """Of initializers of the graph itself: bodies of functions are not looked into."""
        names = set(self._refitter.get_all_weights())
        tensors = [tensor for tensor in onnx.load(path).graph.initializer if tensor.name in names]
        self._refitter._new = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in tensors}
        return True


class IPluginRegistry(Listed):
    def load_library(self, path: str) -> object:
        if path in _LIBRARIES:
            return None
        load_creators(Path(path))
        _LIBRARIES.append(path)
        return path


def get_plugin_registry() -> IPluginRegistry:
    return IPluginRegistry()


class Runtime(Listed):
    def __init__(self, logger: ILogger) -> None:
        if fault() == "cannot start":
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._logger = logger

    engine_host_code_allowed = False

    def deserialize_cuda_engine(self, plan: bytes) -> ICudaEngine | None:
        read = unpack_plan(bytes(plan))
        if read is None:
            return self._fail("Serialization assertion magicTagRead == kMAGIC_TAG failed.")
        header, model = read
        if header["version"] != VERSION and not (header["portable"] and self.engine_host_code_allowed):
            return self._fail(f"The engine plan file is not compatible with {VERSION}, it is {header['version']}")
        for name, version, namespace in header["creators"]:
            if (name, version, namespace) not in CREATORS:
                return self._fail(f"IPluginRegistry::getCreator: could not find plugin {name}, version {version}")
        if fault() == "no memory for engines":
            return self._fail("Error Code 2: OutOfMemory (requested size was 123 bytes)")
        return ICudaEngine(header, model, self._logger)

    def _fail(self, reason: str) -> None:
        self._logger.log(ILogger.ERROR, reason)


SPOILS = {
    "nan": lambda values: np.full_like(values, np.nan),
    "wrong numbers": lambda values: values[..., ::-1] + np.abs(values).max(),
    "recorded: wrong replay": lambda values: values[..., ::-1] + np.abs(values).max(),
}
"""What a fault makes of an engine's outputs."""
