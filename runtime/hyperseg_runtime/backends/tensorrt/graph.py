"""One engine as an opened graph: its profiles, its stream, its recorded calls."""

import warnings
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.backends.tensorrt.cuda_graphs import Replay, record
from hyperseg_runtime.backends.tensorrt.device import Device, DeviceBuffer
from hyperseg_runtime.backends.tensorrt.logger import reason
from hyperseg_runtime.backends.tensorrt.memory import using
from hyperseg_runtime.backends.tensorrt.profiles import Shape, choose_profile, read_profiles
from hyperseg_runtime.backends.tensorrt.streams import Stream
from hyperseg_runtime.errors import HypersegError, ResourceError
from hyperseg_runtime.graph_spec import GraphSpec

SEEN = 64
"""Calls that are remembered to see whether they come again."""

Key = tuple[object, ...]


class TensorRTGraph:
    """Calls are put into a stream of the graph's own, so graphs that do not read each other's results run side by
    side; the events of the buffers order them. A call whose shapes and caches come again is recorded as a CUDA
    graph: run once as it is, recorded after the second time, replayed from the third time on.
    """

    def __init__(self, spec: GraphSpec, trt: Any, engine: Any, device: Device, logger: Any, recordings: int) -> None:
        self.spec = spec
        self.replayed = 0
        """Calls that were replayed so far."""
        self._trt = trt
        self._engine = engine
        self._device = device
        self._logger = logger
        self._stream = Stream(device.cudart)
        self._profiles = read_profiles(engine, spec.input_names())
        self._contexts: dict[int, Any] = {}
        self._caches = frozenset(spec.in_place.values())
        self._made = [name for name in spec.output_names() if name not in spec.in_place]
        self._recordings = recordings
        self._replays: OrderedDict[Key, Replay] = OrderedDict()
        self._seen: OrderedDict[Key, None] = OrderedDict()

    def run(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        self.spec.check_inputs(inputs)
        given = {name: self._device.own(buffer, f"graph {self.spec.name}: {name}") for name, buffer in inputs.items()}
        caches = {name: given[name] for name in self._caches}
        key = self._key(given, caches)
        replay = self._replays.get(key)
        made = replay.run(given, caches) if replay else self._enqueue(given)
        if replay:
            self.replayed += 1
            self._replays.move_to_end(key)
        elif self._comes_again(key):
            self._record(key, given)
        for buffer in caches.values():
            buffer.host_copy = None
        return {name: made.get(name) or caches[self.spec.in_place[name]] for name in self.spec.output_names()}

    def wait(self) -> None:
        """Let the host wait for all calls so far."""
        self._stream.synchronise()

    def close(self) -> None:
        self._stream.synchronise()
        for replay in self._replays.values():
            replay.close()
        self._replays.clear()
        self._contexts.clear()
        self._engine = None  # after its contexts
        self._stream.close()

    def _key(self, given: Mapping[str, DeviceBuffer], caches: Mapping[str, DeviceBuffer]) -> Key:
        """Equal for calls that one recording serves. After memory went back to the system no old one is used."""
        shapes = tuple(given[name].shape for name in self.spec.input_names())
        return (self._device.memory.epoch, shapes, *(caches[name].block.address for name in sorted(caches)))

    def _enqueue(self, given: Mapping[str, DeviceBuffer]) -> dict[str, DeviceBuffer]:
        context = self._prepared(given)
        made = {name: self._device.empty(dtype, shape) for name, (dtype, shape) in self._made_shapes(context).items()}
        writes = [buffer.block for buffer in made.values()] + [given[name].block for name in self._caches]
        with using(self._stream, [buffer.block for buffer in given.values()], writes):
            self._bind(context, given, made)
            self._execute(context)
        return made

    def _prepared(self, given: Mapping[str, DeviceBuffer]) -> Any:
        """The context of the profile for these shapes, with the shapes set."""
        shapes = {name: buffer.shape for name, buffer in given.items()}
        profile = choose_profile(self._profiles, shapes, self.spec.name).index
        if profile not in self._contexts:
            self._contexts[profile] = self._new_context(profile)
        context = self._contexts[profile]
        for name, shape in shapes.items():
            if not context.set_input_shape(name, shape):
                raise HypersegError(f"graph {self.spec.name}: {name} {shape} is refused:\n  {reason(self._logger)}")
        missing = context.infer_shapes()
        if missing:
            raise HypersegError(f"graph {self.spec.name}: TensorRT also needs to know {', '.join(missing)}")
        return context

    def _new_context(self, profile: int) -> Any:
        engine, trt = self._engine, self._trt
        strategy = trt.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE
        context = engine.create_execution_context(strategy)
        if context is None:
            self._device.memory.trim()
            context = engine.create_execution_context(strategy)
        if context is None:
            raise ResourceError(
                f"graph {self.spec.name}: no memory to run its engine; close sessions, build with a smaller preset, "
                f"or keep weights on the host (--weight-streaming):\n  {reason(self._logger)}"
            )
        if not context.set_optimization_profile_async(profile, self._stream.handle):
            raise HypersegError(f"graph {self.spec.name}: profile {profile} is refused:\n  {reason(self._logger)}")
        self._stream.synchronise()
        return context

    def _made_shapes(self, context: Any) -> dict[str, tuple[Any, Shape]]:
        dtypes = {tensor.name: tensor.dtype for tensor in self.spec.outputs}
        return {name: (dtypes[name], tuple(context.get_tensor_shape(name))) for name in self._made}

    def _bind(self, context: Any, given: Mapping[str, DeviceBuffer], made: Mapping[str, DeviceBuffer]) -> None:
        """Every tensor's address; an output in place has that of its input."""
        outputs = {**made, **{output: given[source] for output, source in self.spec.in_place.items()}}
        for name, buffer in (*given.items(), *outputs.items()):
            if not context.set_tensor_address(name, buffer.block.address):
                raise HypersegError(
                    f"graph {self.spec.name}: the memory of {name} is refused:\n  {reason(self._logger)}"
                )

    def _execute(self, context: Any) -> None:
        if not context.execute_async_v3(self._stream.handle):
            raise HypersegError(f"graph {self.spec.name}: TensorRT could not run it:\n  {reason(self._logger)}")

    def _comes_again(self, key: Key) -> bool:
        """Whether the call was seen before; remembers it."""
        if not self._recordings:
            return False
        again = key in self._seen
        self._seen[key] = None
        self._seen.move_to_end(key)
        if len(self._seen) > SEEN:
            self._seen.popitem(last=False)
        return again

    def _record(self, key: Key, given: Mapping[str, DeviceBuffer]) -> None:
        """Record the call that was just made; its shapes are set, and TensorRT is warm."""
        context = self._prepared(given)
        inputs = {
            name: self._device.empty(buffer.dtype, buffer.shape)
            for name, buffer in given.items()
            if name not in self._caches
        }
        made = {name: self._device.empty(dtype, shape) for name, (dtype, shape) in self._made_shapes(context).items()}
        self._bind(context, {**given, **inputs}, made)
        try:
            recorded = record(self._device.cudart, self._stream, lambda: self._execute(context))
        except HypersegError as error:
            self._recordings = 0
            warnings.warn(f"graph {self.spec.name} runs without CUDA graphs, slower: {error}", stacklevel=2)
            return
        self._replays[key] = Replay(self._device, self._stream, inputs, made, recorded)
        if len(self._replays) > self._recordings:
            _, oldest = self._replays.popitem(last=False)
            oldest.close()
