"""Stands for TensorRT on a machine without a GPU: builder, parser, inspector, and execution by ONNX Runtime.

No public name exists here that the list of TensorRT 11.4's names lacks. Its rules are the real ones as far as our
code depends on them: float32 attention needs to be decomposable, profiles lie within a network's shapes, a call
needs shapes within the active profile, the address of every tensor and one address for a cache and its update,
recording needs a call of the same shapes before; what fails gives None or False and the reason goes to the logger.
DOUBLE_FAULT in the environment asks for a failure.
"""

import enum
import json
import os
import signal
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from double_engine import Kernels, pack_plan, unpack_plan
from double_gpu import ALIGNMENT, GPU, Stream

from api_contract import members, names

__version__ = os.environ.get("DOUBLE_VERSION", "11.4.0.106")
_LIBRARIES: list[str] = []
_KNOWN = names("tensorrt")


def __getattr__(name: str) -> Any:
    """Enums come from the list."""
    if name in _KNOWN and "enum" in (_KNOWN[name] or {}):
        return enum.IntEnum(name, _KNOWN[name]["enum"], module=__name__)
    raise AttributeError(f"the double of TensorRT has no {name}")


class _Listed:
    """Subclasses may only have public attributes that the list gives them."""

    def __init_subclass__(cls) -> None:
        if cls.__module__ == __name__:
            cls._allowed = members(_KNOWN, cls.__name__)
            public = {name for name in vars(cls) if not name.startswith("_")}
            assert public <= cls._allowed, f"{cls.__name__} lacks {public - cls._allowed}"

    def __setattr__(self, name: str, value: Any) -> None:
        if type(self).__module__ == __name__ and not name.startswith("_") and name not in self._allowed:
            raise AttributeError(f"{type(self).__name__} has no attribute {name}")
        object.__setattr__(self, name, value)


def _enum(name: str) -> Any:
    return _ENUMS.setdefault(name, __getattr__(name))


_ENUMS: dict[str, Any] = {}
for _name in (
    "BuilderFlag DataType ExecutionContextAllocationStrategy HardwareCompatibilityLevel LayerInformationFormat "
    "LayerType MemoryPoolType NetworkDefinitionCreationFlag ProfilingVerbosity TensorIOMode TensorLocation"
).split():
    globals()[_name] = _enum(_name)
_TYPES = {1: DataType.FLOAT, 10: DataType.HALF, 16: DataType.BF16, 7: DataType.INT64, 9: DataType.BOOL}  # noqa: F821
_INSPECTOR = {1: "Float", 10: "Half", 16: "BFloat16", 7: "Int64", 9: "Bool", 6: "Int32"}


def _fault() -> str:
    return os.environ.get("DOUBLE_FAULT", "")


class ILogger(_Listed):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def log(self, severity: int, message: str) -> None: ...


class IProgressMonitor(_Listed):
    def phase_start(self, phase: str, parent: str | None, steps: int) -> None: ...
    def step_complete(self, phase: str, step: int) -> bool: ...
    def phase_finish(self, phase: str) -> None: ...


class ITensor(_Listed):
    def __init__(self, value: onnx.ValueInfoProto) -> None:
        kind = value.type.tensor_type
        self.name = value.name
        self.dtype = _TYPES[kind.elem_type]
        self.shape = tuple(dim.dim_value or -1 for dim in kind.shape.dim)


class IAttention(_Listed):
    def __init__(self) -> None:
        self.decomposable = False


class ILayer(_Listed):
    def __init__(self, name: str, query: ITensor) -> None:
        self.name, self.type = name, LayerType.ATTENTION_INPUT  # noqa: F821
        self._query, self._attention = query, IAttention()

    def get_input(self, index: int) -> ITensor:
        return self._query


class IAttentionInputLayer(ILayer):
    @property
    def attention(self) -> IAttention:
        return self._attention


class INetworkDefinition(_Listed):
    def __init__(self) -> None:
        self._model: onnx.ModelProto | None = None
        self._layers: list[ILayer] = []

    def _read(self, model: onnx.ModelProto) -> None:
        self._model = model
        values = {v.name: v for v in (*model.graph.input, *model.graph.value_info)}
        self._layers = [
            ILayer(node.name, ITensor(values[node.input[0]]))
            for node in model.graph.node
            if node.op_type == "Attention"
        ]

    num_inputs = property(lambda self: len(self._model.graph.input))
    num_outputs = property(lambda self: len(self._model.graph.output))
    num_layers = property(lambda self: len(self._layers))

    def get_input(self, index: int) -> ITensor:
        return ITensor(self._model.graph.input[index])

    def get_output(self, index: int) -> ITensor:
        return ITensor(self._model.graph.output[index])

    def get_layer(self, index: int) -> ILayer:
        return self._layers[index]


class ParserError(_Listed):
    def __init__(self, text: str) -> None:
        self._text = text

    def desc(self) -> str:
        return self._text

    def node_name(self) -> str:
        return "graph"

    def node_operator(self) -> str:
        return "Graph"


class OnnxParser(_Listed):
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network = network
        self._errors: list[ParserError] = []

    num_errors = property(lambda self: len(self._errors))

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def parse_from_file(self, path: str) -> bool:
        try:
            self._network._read(onnx.load(path))
        except Exception as error:
            self._errors.append(ParserError(f"cannot be decoded: {error}"))
            return False
        return True


class IOptimizationProfile(_Listed):
    def __init__(self) -> None:
        self._shapes: dict[str, list[tuple[int, ...]]] = {}

    def set_shape(self, name: str, smallest: Any, typical: Any, largest: Any) -> None:
        self._shapes[name] = [tuple(smallest), tuple(typical), tuple(largest)]


class ITimingCache(_Listed):
    def __init__(self, known: bytes) -> None:
        self._known = known

    def serialize(self) -> bytes:
        return self._known + b"timed "


class IBuilderConfig(_Listed):
    def __init__(self) -> None:
        self._flags = {BuilderFlag.TF32}  # noqa: F821
        self._profiles: list[IOptimizationProfile] = []

    def set_flag(self, flag: Any) -> None:
        self._flags.add(flag)

    def clear_flag(self, flag: Any) -> None:
        self._flags.discard(flag)

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        assert isinstance(size, int)

    def create_timing_cache(self, known: bytes) -> ITimingCache:
        return ITimingCache(known)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        self._cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache:
        return self._cache

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        ordered = all(a <= b <= c for shapes in profile._shapes.values() for a, b, c in zip(*shapes, strict=True))
        self._profiles.append(profile)
        return len(self._profiles) - 1 if ordered else -1


class Builder(_Listed):
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def create_network(self, flags: int) -> INetworkDefinition:
        """Networks of TensorRT 10 are strongly typed only on request."""
        assert flags == 1 << int(NetworkDefinitionCreationFlag.STRONGLY_TYPED)  # noqa: F821
        return INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> bytes | None:
        name = network._model.graph.name
        if f"killed at {name}" == _fault():
            os.kill(os.getpid(), signal.SIGKILL)
        if _fault() == "no host memory":
            raise MemoryError
        if _fault() == "out of memory":
            return self._fail("Error Code 2: OutOfMemory (requested size was 123 bytes)")
        for layer in network._layers:
            if layer.get_input(0).dtype == DataType.FLOAT and not layer._attention.decomposable:  # noqa: F821
                return self._fail(f"{layer.name} not supported by a dedicated kernel")
        assert BuilderFlag.TF32 not in config._flags  # noqa: F821
        if monitor := getattr(config, "progress_monitor", None):
            monitor.phase_start("Building", None, 2)
            for step in range(2):
                monitor.step_complete("Building", step)
            monitor.phase_finish("Building")
        header = _describe(network._model, config)
        return pack_plan(header, network._model)

    def _fail(self, reason: str) -> None:
        self._logger.log(ILogger.ERROR, reason)


class EngineInspector(_Listed):
    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan

    def get_engine_information(self, form: Any) -> str:
        return json.dumps({"Layers": self._plan["layers"], "Bindings": []})


class ICudaEngine(_Listed):
    def __init__(self, plan: dict[str, Any], model: onnx.ModelProto, logger: ILogger) -> None:
        self._plan, self._kernels, self._logger = plan, Kernels(model), logger
        self._tensors = {name: (mode, kind) for name, mode, kind in plan["tensors"]}
        self._contexts = 0
        self._budget = 0
        self._empty = plan["stripped"]

    num_io_tensors = property(lambda self: len(self._tensors))
    num_optimization_profiles = property(lambda self: len(self._plan["profiles"]))
    refittable = property(lambda self: self._plan["refit"] or self._plan["stripped"])
    streamable_weights_size = property(lambda self: self._plan["streamable"])

    @property
    def weight_streaming_budget_v2(self) -> int:
        return self._budget

    @weight_streaming_budget_v2.setter
    def weight_streaming_budget_v2(self, size: int) -> None:
        assert not self._contexts and 0 <= size <= self.streamable_weights_size
        self._budget = size

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> Any:
        return TensorIOMode(self._tensors[name][0])  # noqa: F821

    def get_tensor_dtype(self, name: str) -> Any:
        return DataType(self._tensors[name][1])  # noqa: F821

    def get_tensor_location(self, name: str) -> Any:
        return TensorLocation.DEVICE  # noqa: F821

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return [tuple(shape) for shape in self._plan["profiles"][profile][name]]

    def get_aliased_input_tensor(self, name: str) -> str | None:
        return self._plan["aliases"].get(name)

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector(self._plan)

    def create_execution_context(self, strategy: Any) -> "IExecutionContext | None":
        if _fault() == "no memory for contexts":
            self._logger.log(ILogger.ERROR, "Error Code 2: OutOfMemory (requested size was 123 bytes)")
            return None
        self._contexts += 1
        return IExecutionContext(self)


class IExecutionContext(_Listed):
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
        if queue.recording is not None and self._warm != state:
            queue.spoiled = True
            return self._fail("enqueueV3: shapes have changed since the last call, which cannot be recorded")
        self._warm = state
        spoil = _SPOILS.get(_fault() if queue.recording is None else f"recorded: {_fault()}")
        addresses, shapes = dict(self._addresses), dict(self._shapes)
        recorded = queue.recording is not None

        def work() -> None:
            """What a context keeps on the device for its shapes is not part of a recording."""
            stale = recorded and self._warm != state
            engine._kernels.run(addresses, shapes, _SPOILS["nan"] if stale else spoil)

        queue.put(work)
        return True

    def _fail(self, reason: str) -> bool:
        self._engine._logger.log(ILogger.ERROR, reason)
        return False


class Weights(_Listed):
    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    numpy = property(lambda self: self._values)


class Refitter(_Listed):
    def __init__(self, engine: ICudaEngine, logger: ILogger) -> None:
        self._engine, self._logger, self._new = engine, logger, {}
        self._old = {tensor.name: tensor for tensor in engine._kernels.model.graph.initializer}

    def get_all_weights(self) -> list[str]:
        return list(self._old)

    def get_missing_weights(self) -> list[str]:
        return [name for name in self._old if name not in self._new] if _fault() == "combined weights" else []

    def set_named_weights(self, name: str, weights: Weights) -> bool:
        known = self._old.get(name)
        if known is None or tuple(known.dims) != weights._values.shape or known.data_type != onnx.TensorProto.FLOAT:
            self._logger.log(ILogger.ERROR, f"Refitter: {name} has another type or size")
            return False
        self._new[name] = weights._values
        return True

    def refit_cuda_engine(self) -> bool:
        if self.get_missing_weights():
            return False
        assert self._engine.refittable and not self._engine._contexts
        self._engine._kernels.replace_weights(self._new)
        self._engine._empty = False
        return True


class OnnxParserRefitter(_Listed):
    def __init__(self, refitter: Refitter, logger: ILogger) -> None:
        self._refitter = refitter

    def refit_from_file(self, path: str) -> bool:
        self._refitter._new = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
        return True


class IPluginRegistry(_Listed):
    def load_library(self, path: str) -> object:
        if path in _LIBRARIES:
            return None
        _LIBRARIES.append(path)
        return path


def get_plugin_registry() -> IPluginRegistry:
    return IPluginRegistry()


class Runtime(_Listed):
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    engine_host_code_allowed = False

    def deserialize_cuda_engine(self, plan: bytes) -> ICudaEngine | None:
        read = unpack_plan(bytes(plan))
        if read is None:
            return self._fail("Serialization assertion magicTagRead == kMAGIC_TAG failed.")
        header, model = read
        if header["version"] != __version__ and not (header["portable"] and self.engine_host_code_allowed):
            return self._fail(f"The engine plan file is not compatible with {__version__}, it is {header['version']}")
        if header["needs"] and not _LIBRARIES:
            return self._fail("IPluginRegistry::getCreator: could not find plugin MSDeformAttn, version 1")
        if _fault() == "no memory for engines":
            return self._fail("Error Code 2: OutOfMemory (requested size was 123 bytes)")
        return ICudaEngine(header, model, self._logger)

    def _fail(self, reason: str) -> None:
        self._logger.log(ILogger.ERROR, reason)


_SPOILS = {
    "nan": lambda values: np.full_like(values, np.nan),
    "wrong numbers": lambda values: values[..., ::-1] + np.abs(values).max(),
    "recorded: wrong replay": lambda values: values[..., ::-1] + np.abs(values).max(),
}
"""What a fault makes of an engine's outputs."""


def _describe(model: onnx.ModelProto, config: IBuilderConfig) -> dict[str, Any]:
    """What the double's engine knows of itself: tensors, caches in place, layers with their types, options."""
    graph = model.graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.output)}
    layers = []
    for node in graph.node:
        kind = _INSPECTOR.get(kinds.get(node.output[0], 0), "Int64")
        kind = "Float" if _fault() == "float32 instead" and kind in ("Half", "BFloat16") else kind
        layers.append({"Name": node.name, "LayerType": node.op_type, "Outputs": [{"Format/Datatype": kind}]})
    sides = [(TensorIOMode.INPUT, graph.input), (TensorIOMode.OUTPUT, graph.output)]  # noqa: F821
    copies = _fault() == "copied cache"
    scatters = [node for node in graph.node if node.op_type == "TensorScatter" and not copies]
    flags = {flag.name for flag in config._flags}
    weights = sum(len(tensor.raw_data) for tensor in graph.initializer)
    return {
        "version": __version__,
        "portable": "VERSION_COMPATIBLE" in flags,
        "refit": "REFIT" in flags,
        "stripped": "STRIP_PLAN" in flags,
        "streamable": weights if "WEIGHT_STREAMING" in flags else 0,
        "needs": _fault() == "plugin",
        "profiles": [profile._shapes for profile in config._profiles],
        "layers": layers,
        "tensors": [(v.name, int(mode), int(_TYPES[v.type.tensor_type.elem_type])) for mode, vs in sides for v in vs],
        "aliases": {node.output[0]: node.input[0] for node in scatters},
    }
