"""The building half of TensorRT's double: from an ONNX file to a plan."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
from double_engine import pack_plan
from double_names import (
    TYPES,
    VERSION,
    BuilderFlag,
    DataType,
    ILogger,
    LayerType,
    Listed,
    NetworkDefinitionCreationFlag,
    TensorIOMode,
    fault,
)
from double_plugins import compile_kernel, identity_of

FLOAT, INT64, FLOAT16, BFLOAT16 = 1, 7, 10, 16


class IProgressMonitor(Listed):
    def phase_start(self, phase: str, parent: str | None, steps: int) -> None: ...
    def step_complete(self, phase: str, step: int) -> bool: ...
    def phase_finish(self, phase: str) -> None: ...


class ITensor(Listed):
    def __init__(self, value: onnx.ValueInfoProto) -> None:
        kind = value.type.tensor_type
        self.name = value.name
        self.dtype = TYPES[kind.elem_type]
        self.shape = tuple(dim.dim_value or -1 for dim in kind.shape.dim)


def has_kernel(query: ITensor) -> bool:
    """Whether fused attention exists: half precision, heads of 16, 24, .. 256 (TensorRT's notes on MHA fusion)."""
    fits = query.dtype != DataType.FLOAT and query.shape[-1] in range(16, 257, 8)
    return fits and fault() != "no fused kernel"


class IAttention(Listed):
    def __init__(self) -> None:
        self.decomposable = False


class ILayer(Listed):
    def __init__(self, name: str, query: ITensor) -> None:
        self.name, self.type = name, LayerType.ATTENTION_INPUT
        self._query, self._attention = query, IAttention()

    def get_input(self, index: int) -> ITensor:
        return self._query


class IAttentionInputLayer(ILayer):
    @property
    def attention(self) -> IAttention:
        return self._attention


class INetworkDefinition(Listed):
    def __init__(self) -> None:
        self._model: onnx.ModelProto | None = None
        self._layers: list[ILayer] = []
        self._plugins: dict[str, tuple[str, str, str]] = {}
        self._marked: set[str] = set()

    def mark_weights_refittable(self, name: str) -> bool:
        known = any(tensor.name == name for tensor in self._model.graph.initializer)
        self._marked |= {name} if known else set()
        return known

    def _read(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._plugins = {node.output[0]: key for node in model.graph.node if (key := identity_of(node))}
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


class ParserError(Listed):
    def __init__(self, text: str) -> None:
        self._text = text

    def desc(self) -> str:
        return self._text

    def node_name(self) -> str:
        return "graph"

    def node_operator(self) -> str:
        return "Graph"


class OnnxParser(Listed):
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network = network
        self._errors: list[ParserError] = []

    num_errors = property(lambda self: len(self._errors))

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def parse_from_file(self, path: str) -> bool:
        return self._parse(lambda: onnx.load(path))

    def parse(self, model: bytes, path: str | None = None) -> bool:
        """`path` tells where weights in files of their own lie."""

        def read() -> onnx.ModelProto:
            read = onnx.load_model_from_string(model)
            if path is not None:
                onnx.load_external_data_for_model(read, str(Path(path).parent))
            return read

        return self._parse(read)

    def _parse(self, read: Callable[[], onnx.ModelProto]) -> bool:
        try:
            self._network._read(read())
        except Exception as error:
            self._errors.append(ParserError(f"cannot be decoded: {error}"))
            return False
        return True


class IOptimizationProfile(Listed):
    def __init__(self) -> None:
        self._shapes: dict[str, list[tuple[int, ...]]] = {}

    def set_shape(self, name: str, smallest: Any, typical: Any, largest: Any) -> None:
        self._shapes[name] = [tuple(smallest), tuple(typical), tuple(largest)]


CACHE_HEADER = b"DOUBLE OF TIMINGS ON "


def _device() -> bytes:
    """What a timing cache is bound to."""
    return os.environ.get("DOUBLE_GPU_NAME", "Test GPU 80GB").encode() + b"\n"


class ITimingCache(Listed):
    def __init__(self, known: bytes) -> None:
        self._known = known or CACHE_HEADER + _device()

    def serialize(self) -> bytes:
        return self._known + b"timed "


class IBuilderConfig(Listed):
    def __init__(self) -> None:
        self._flags = {BuilderFlag.TF32}
        self._profiles: list[IOptimizationProfile] = []
        self._cache: ITimingCache | None = None

    def set_flag(self, flag: Any) -> None:
        self._flags.add(flag)

    def clear_flag(self, flag: Any) -> None:
        self._flags.discard(flag)

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        assert isinstance(size, int)

    def create_timing_cache(self, known: bytes) -> ITimingCache | None:
        return None if known and not known.startswith(CACHE_HEADER) else ITimingCache(known)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        """A cache of another device is refused here, not when it is read."""
        if not ignore_mismatch and not cache._known.startswith(CACHE_HEADER + _device()):
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self._cache

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        ordered = all(a <= b <= c for shapes in profile._shapes.values() for a, b, c in zip(*shapes, strict=True))
        self._profiles.append(profile)
        return len(self._profiles) - 1 if ordered else -1


class Builder(Listed):
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def create_network(self, flags: int) -> INetworkDefinition:
        """Networks of TensorRT 10 are strongly typed only on request."""
        assert flags == 1 << int(NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        return INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> bytes | None:
        name = network._model.graph.name
        if f"killed at {name}" == fault():
            os.kill(os.getpid(), signal.SIGKILL)
        if fault() == "no host memory":
            raise MemoryError
        if fault() == "out of memory":
            return self._fail("Error Code 2: OutOfMemory (requested size was 123 bytes)")
        for layer in network._layers:
            if not has_kernel(layer.get_input(0)) and not layer._attention.decomposable:
                return self._fail(f"{layer.name} not supported by a dedicated kernel")
        assert BuilderFlag.TF32 not in config._flags
        if monitor := getattr(config, "progress_monitor", None):
            _report(monitor)
        nodes = {node.output[0]: node for node in network._model.graph.node}
        kernels = {key: compile_kernel(nodes[output], key, network._model) for output, key in network._plugins.items()}
        header = _describe(network, config) | {"creators": [key for key, kernel in kernels.items() if not kernel]}
        if fault().startswith("wrong node "):
            _spoil(network._model, fault().removeprefix("wrong node "))
        return pack_plan(header, network._model)

    def _fail(self, reason: str) -> None:
        self._logger.log(ILogger.ERROR, reason)


def _spoil(model: onnx.ModelProto, name: str) -> None:
    """Let one node give another result."""
    nodes = list(model.graph.node)
    place = next((index for index, node in enumerate(nodes) if node.name == name), None)
    if place is None:
        return
    output = nodes[place].output[0]
    nodes[place].output[0] = f"{output}.right"
    wrong = onnx.helper.make_node("Neg", [f"{output}.right"], [output])
    del model.graph.node[:]
    model.graph.node.extend([*nodes[: place + 1], wrong, *nodes[place + 1 :]])


def _report(monitor: IProgressMonitor, threads: int = 4, steps: int = 50) -> None:
    """Phases of one build come from several threads."""

    def phase(name: str) -> None:
        monitor.phase_start(name, "Building", steps)
        for step in range(steps):
            assert monitor.step_complete(name, step)
        monitor.phase_finish(name)

    monitor.phase_start("Building", None, 1)
    workers = [threading.Thread(target=phase, args=(f"Tactics {n}",)) for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    os.write(1, b"the library prints {")
    monitor.step_complete("Building", 0)
    monitor.phase_finish("Building")


def _refittable(model: onnx.ModelProto, config: IBuilderConfig, marked: set[str]) -> list[str]:
    """Weights that can be exchanged: those marked, or with REFIT all, constants in bodies of functions too, each use
    of a body under names of its own.
    """
    if BuilderFlag.REFIT_INDIVIDUAL in config._flags:
        assert BuilderFlag.REFIT not in config._flags
        return sorted(marked)
    if not {BuilderFlag.REFIT, BuilderFlag.STRIP_PLAN} & config._flags:
        return []
    names = [tensor.name for tensor in model.graph.initializer]
    bodies = {function.name: function for function in model.functions}
    for count, node in enumerate(model.graph.node):
        if node.op_type in bodies:
            constants = [inner for inner in bodies[node.op_type].node if inner.op_type == "Constant"]
            names += [f"{inner.output[0]}_{count}" for inner in constants]
    return names


def _describe(network: INetworkDefinition, config: IBuilderConfig) -> dict[str, Any]:
    """What the double's engine knows of itself: tensors, caches in place, layers with their types, options."""
    model = network._model
    graph = model.graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.output)}
    attention = iter(network._layers)  # in the order of their nodes
    layers = []
    for node in graph.node:
        kind = kinds.get(node.output[0], INT64)
        kind = FLOAT if fault() == "float32 instead" and kind in (FLOAT16, BFLOAT16) else kind
        fused = node.op_type == "Attention" and has_kernel(next(attention).get_input(0))
        name = f"_gemm_mha_v2_{node.name}" if fused else node.name
        operator = "PluginV3" if node.output[0] in network._plugins else node.op_type
        layers.append({"name": name, "op": operator, "kinds": [kind], "tactic": ""})
    sides = [(TensorIOMode.INPUT, graph.input), (TensorIOMode.OUTPUT, graph.output)]
    copies = fault() == "copied cache"
    scatters = [node for node in graph.node if node.op_type == "TensorScatter" and not copies]
    flags = {flag.name for flag in config._flags}
    weights = sum(len(tensor.raw_data) for tensor in graph.initializer)
    return {
        "version": VERSION,
        "portable": "VERSION_COMPATIBLE" in flags,
        "refit": _refittable(model, config, network._marked),
        "stripped": "STRIP_PLAN" in flags,
        "streamable": weights if "WEIGHT_STREAMING" in flags else 0,
        "profiles": [profile._shapes for profile in config._profiles],
        "layers": layers,
        "tensors": [(v.name, int(mode), int(TYPES[v.type.tensor_type.elem_type])) for mode, vs in sides for v in vs],
        "aliases": {node.output[0]: node.input[0] for node in scatters},
    }
