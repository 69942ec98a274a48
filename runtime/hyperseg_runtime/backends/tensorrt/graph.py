"""One engine as an opened graph: its profiles, its stream, its recorded calls."""

import warnings
from collections.abc import Mapping
from typing import Any

from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.backends.cuda.cuda_graphs import Replay, record
from hyperseg_runtime.backends.cuda.device import Device, DeviceBuffer
from hyperseg_runtime.backends.cuda.memory import using
from hyperseg_runtime.backends.cuda.streams import Stream
from hyperseg_runtime.backends.tensorrt.contexts import ShapedContext
from hyperseg_runtime.backends.tensorrt.engine import streams_weights
from hyperseg_runtime.backends.tensorrt.logger import reason
from hyperseg_runtime.backends.tensorrt.profiles import Shape, choose_profile, read_profiles
from hyperseg_runtime.calls import tracing
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.errors import HypersegError, ResourceError

Buffers = Mapping[str, DeviceBuffer]


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
        self.limit = 0 if streams_weights(engine) else recordings
        """Recordings that are kept."""
        self.stream = Stream(device.cudart)
        self._profiles = read_profiles(engine, spec.input_names())
        self._contexts: dict[int, ShapedContext] = {}
        self._epoch = device.memory.epoch
        self._caches = list(spec.in_place.values())
        self._made = [tensor for tensor in spec.outputs if tensor.name not in spec.in_place]

    def run(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        self.spec.check_inputs(inputs)
        given = {name: self._device.own(buffer, f"graph {self.spec.name}: {name}") for name, buffer in inputs.items()}
        caches = {name: given[name] for name in self._caches}
        shaped = self.shaped({name: buffer.shape for name, buffer in given.items()})
        key = tuple(buffer.block.address for buffer in caches.values())
        if replay := shaped.recordings.find(key):
            with tracing.event(f"replay {self.spec.name}"):
                made = replay.run(given, caches)
            self.replayed += 1
        else:
            with tracing.event(f"enqueue {self.spec.name}"):
                made = self.enqueue(shaped.context, self.stream, given)
            if shaped.recordings.comes_again(key):
                with tracing.event(f"record {self.spec.name}"):
                    self._record(shaped, key, given)
        for buffer in caches.values():
            buffer.host_copy = None
        return {name: made.get(name) or caches[self.spec.in_place[name]] for name in self.spec.output_names()}

    def wait(self) -> None:
        """Let the host wait for all calls so far."""
        self.stream.synchronise()

    def close(self) -> None:
        self.stream.synchronise()
        for shaped in self._contexts.values():
            shaped.drop_recordings()
        self._contexts.clear()
        self._engine = None  # after its contexts
        self.stream.close()

    def _drop_stale(self) -> None:
        """Memory was short and idle blocks went back to the system: addresses may mean something else now, and
        recordings hold memory of their own.
        """
        if self._epoch != self._device.memory.epoch:
            self._epoch = self._device.memory.epoch
            for shaped in self._contexts.values():
                shaped.drop_recordings()

    def shaped(self, shapes: Mapping[str, Shape]) -> ShapedContext:
        """The context of the profile for these shapes, set to them."""
        self._drop_stale()
        profile = choose_profile(self._profiles, shapes, self.spec.name).index
        if profile not in self._contexts:
            context = self._new_context(profile)
            self._contexts[profile] = ShapedContext(self.spec.name, context, self._logger, self.limit)
        self._contexts[profile].set_shapes(shapes)
        return self._contexts[profile]

    def _new_context(self, profile: int) -> Any:
        context = self._try_context(profile)
        if context is None:
            self._device.memory.trim()
            context = self._try_context(profile)
        if context is None:
            raise ResourceError(
                f"graph {self.spec.name}: no memory to run its engine; close sessions, build with a smaller preset, "
                f"or keep weights on the host (build --weight-streaming, then --weights-gb):\n  {reason(self._logger)}"
            )
        self.stream.synchronise()
        return context

    def _try_context(self, profile: int) -> Any:
        """None where memory ran out: it is taken when the context is made, or when it is given its profile."""
        context = self._engine.create_execution_context(self._trt.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE)
        if context is None or not context.set_optimization_profile_async(profile, self.stream.handle):
            return None
        return context

    def enqueue(self, context: Any, stream: Stream, given: Buffers) -> dict[str, DeviceBuffer]:
        """Put a call into `stream` as it is; new buffers with the outputs, caches are updated in place."""
        made = self.new_outputs(context)
        writes = [buffer.block for buffer in made.values()] + [given[name].block for name in self._caches]
        with using(stream, [buffer.block for buffer in given.values()], writes):
            self.bind(context, given, made)
            self.execute(context, stream)
        return made

    def new_outputs(self, context: Any) -> dict[str, DeviceBuffer]:
        return {t.name: self._device.empty(t.dtype, tuple(context.get_tensor_shape(t.name))) for t in self._made}

    def bind(self, context: Any, given: Buffers, made: Buffers) -> None:
        """Every tensor's address; an output in place has that of its input."""
        outputs = {**made, **{output: given[source] for output, source in self.spec.in_place.items()}}
        for name, buffer in (*given.items(), *outputs.items()):
            if not context.set_tensor_address(name, buffer.block.address):
                raise HypersegError(
                    f"graph {self.spec.name}: the memory of {name} is refused:\n  {reason(self._logger)}"
                )

    def execute(self, context: Any, stream: Stream) -> None:
        if not context.execute_async_v3(stream.handle):
            raise HypersegError(f"graph {self.spec.name}: TensorRT could not run it:\n  {reason(self._logger)}")

    def _record(self, shaped: ShapedContext, key: tuple[int, ...], given: Buffers) -> None:
        """Record the call that was just made; its shapes are set, and TensorRT is warm."""
        context = shaped.context
        try:
            inputs = {
                name: self._device.empty(buffer.dtype, buffer.shape)
                for name, buffer in given.items()
                if name not in self._caches
            }
            made = self.new_outputs(context)
            self.bind(context, {**given, **inputs}, made)
            recorded = record(self._device.cudart, self.stream, lambda: self.execute(context, self.stream))
        except HypersegError as error:
            shaped.recordings.record_no_more()
            warnings.warn(f"graph {self.spec.name} runs without CUDA graphs, slower: {error}", stacklevel=2)
            return
        shaped.recordings.keep(key, Replay(self._device, self.stream, inputs, made, recorded))
