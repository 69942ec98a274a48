"""Two engines that follow each other as one graph: recorded together, a single launch replays both."""

import warnings
from collections.abc import Mapping

from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.backends.cuda.cuda_graphs import Replay, record
from hyperseg_runtime.backends.cuda.device import Device, DeviceBuffer
from hyperseg_runtime.backends.tensorrt.contexts import ShapedContext
from hyperseg_runtime.backends.tensorrt.graph import TensorRTGraph
from hyperseg_runtime.backends.tensorrt.recordings import Recordings
from hyperseg_runtime.calls import tracing
from hyperseg_runtime.contracts.graph_spec import GraphSpec
from hyperseg_runtime.errors import HypersegError

Buffers = dict[str, DeviceBuffer]
Contexts = tuple[ShapedContext, ShapedContext]


class TensorRTChain:
    """Calls go into the stream of the first graph; as with a graph alone, they are recorded when they come again.

    A recording belongs to the contexts of both and ends when the shapes of either change.
    """

    def __init__(self, first: TensorRTGraph, second: TensorRTGraph, device: Device) -> None:
        self.spec = chained_spec(first.spec, second.spec)
        self.replayed = 0
        """Calls that were replayed so far."""
        self._first, self._second = first, second
        self._handed_on = [tensor for tensor in first.spec.outputs if tensor.name in second.spec.input_names()]
        self._device = device
        self._recordings: dict[Contexts, Recordings] = {}

    def run(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        self.spec.check_inputs(inputs)
        given = {name: self._device.own(buffer, f"graph {self.spec.name}: {name}") for name, buffer in inputs.items()}
        caches = {name: given[name] for name in self.spec.in_place.values()}
        contexts = self._contexts(given)
        recordings = self._recordings_of(contexts)
        key = tuple(buffer.block.address for buffer in caches.values())
        # A context's own memory is used by one call at a time, wherever the one before was put.
        self._first.stream.wait_for([self._second.stream.mark()])
        if replay := recordings.find(key):
            with tracing.event(f"replay {self.spec.name}"):
                made = replay.run(given, caches)
            self.replayed += 1
        else:
            with tracing.event(f"enqueue {self.spec.name}"):
                made = self._enqueue(contexts, given)
            if recordings.comes_again(key):
                with tracing.event(f"record {self.spec.name}"):
                    self._record(recordings, contexts, key, given, caches)
        self._second.stream.wait_for([self._first.stream.mark()])
        for buffer in caches.values():
            buffer.host_copy = None
        return {name: made.get(name) or caches[self.spec.in_place[name]] for name in self.spec.output_names()}

    def _contexts(self, given: Buffers) -> Contexts:
        sizes = self.spec.sizes(given)
        shapes = {name: buffer.shape for name, buffer in given.items()}
        shapes |= {tensor.name: tensor.shape(sizes) for tensor in self._handed_on}
        first, second = (
            graph.shaped({name: shapes[name] for name in graph.spec.input_names()})
            for graph in (self._first, self._second)
        )
        return first, second

    def _recordings_of(self, contexts: Contexts) -> Recordings:
        if contexts not in self._recordings:
            recordings = Recordings(min(self._first.limit, self._second.limit))
            for context in contexts:
                context.takes_part_in(recordings)
            self._recordings[contexts] = recordings
        return self._recordings[contexts]

    def _enqueue(self, contexts: Contexts, given: Buffers) -> Buffers:
        known, stream = dict(given), self._first.stream
        for graph, shaped in zip((self._first, self._second), contexts, strict=True):
            known |= graph.enqueue(shaped.context, stream, {name: known[name] for name in graph.spec.input_names()})
        return {name: known[name] for name in self.spec.output_names() if name not in self.spec.in_place}

    def _record(
        self, recordings: Recordings, contexts: Contexts, key: tuple[int, ...], given: Buffers, caches: Buffers
    ) -> None:
        """Record the calls that were just made; their shapes are set, and TensorRT is warm."""
        stream, graphs = self._first.stream, (self._first, self._second)
        try:
            inputs = {
                name: self._device.empty(buffer.dtype, buffer.shape)
                for name, buffer in given.items()
                if name not in caches
            }
            known = {**caches, **inputs}
            for graph, shaped in zip(graphs, contexts, strict=True):
                made = graph.new_outputs(shaped.context)
                graph.bind(shaped.context, {name: known[name] for name in graph.spec.input_names()}, made)
                known |= made

            def execute() -> None:
                for graph, shaped in zip(graphs, contexts, strict=True):
                    graph.execute(shaped.context, stream)

            recorded = record(self._device.cudart, stream, execute)
        except HypersegError as error:
            recordings.record_no_more()
            warnings.warn(f"graphs {self.spec.name} run one by one, slower: {error}", stacklevel=2)
            return
        outputs = {name: known[name] for name in self.spec.output_names() if name not in self.spec.in_place}
        between = tuple(known[tensor.name] for tensor in self._handed_on)
        recordings.keep(key, Replay(self._device, stream, inputs, outputs, recorded, between))


def chained_spec(first: GraphSpec, second: GraphSpec) -> GraphSpec:
    """The contract of `second` on what `first` makes: what is handed on shows no more."""
    made, taken = first.output_names(), second.input_names()
    return GraphSpec(
        name=f"{first.name}+{second.name}",
        inputs=(*first.inputs, *(tensor for tensor in second.inputs if tensor.name not in made)),
        outputs=(*(tensor for tensor in first.outputs if tensor.name not in taken), *second.outputs),
        axis_ranges={**second.axis_ranges, **first.axis_ranges},
        reuse=second.reuse,
        in_place=first.in_place,
    )
