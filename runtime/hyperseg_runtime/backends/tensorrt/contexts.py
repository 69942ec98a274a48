"""An execution context of one profile: the shapes it is set to and the calls recorded with them."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from hyperseg_runtime.backends.cuda.cuda_graphs import Replay
from hyperseg_runtime.backends.tensorrt.logger import reason
from hyperseg_runtime.backends.tensorrt.profiles import Shape
from hyperseg_runtime.errors import HypersegError

SEEN = 64
"""Calls that are remembered to see whether they come again."""

Addresses = tuple[int, ...]
"""Of the caches of a call."""


class ShapedContext:
    """What TensorRT keeps of the shapes on the device belongs to the context and not to a recording, so recordings
    end when the shapes change. A recording is for one set of caches; at most `recordings` are kept.
    """

    def __init__(self, graph: str, context: Any, logger: Any, recordings: int) -> None:
        self.context = context
        self._graph = graph
        self._logger = logger
        self._recordings = recordings
        self._shapes: Mapping[str, Shape] = {}
        self._replays: OrderedDict[Addresses, Replay] = OrderedDict()
        self._seen: OrderedDict[Addresses, None] = OrderedDict()

    def set_shapes(self, shapes: Mapping[str, Shape]) -> None:
        """Raises HypersegError where TensorRT refuses them."""
        if shapes == self._shapes:
            return
        self.drop_recordings()
        self._shapes = {}  # until all went well
        context = self.context
        for name, shape in shapes.items():
            if not context.set_input_shape(name, shape):
                raise HypersegError(f"graph {self._graph}: {name} {shape} is refused:\n  {reason(self._logger)}")
        try:
            missing = context.infer_shapes()
        except RuntimeError as error:  # "infer_shapes error code: -1" (NVIDIA/TensorRT 11.1, pyCore.cpp)
            raise HypersegError(
                f"graph {self._graph}: TensorRT cannot derive shapes from {dict(shapes)} ({error}):\n"
                f"  {reason(self._logger)}"
            ) from error
        if missing:
            raise HypersegError(f"graph {self._graph}: TensorRT also needs to know {', '.join(missing)}")
        self._shapes = shapes

    def find(self, caches: Addresses) -> Replay | None:
        """The recording for these caches."""
        if caches in self._replays:
            self._replays.move_to_end(caches)
        return self._replays.get(caches)

    def comes_again(self, caches: Addresses) -> bool:
        """Whether a call with these caches was made before; remembers it. Never true where nothing is recorded."""
        again = caches in self._seen
        self._seen[caches] = None
        if len(self._seen) > SEEN:
            self._seen.popitem(last=False)
        return again and self._recordings > 0

    def keep(self, caches: Addresses, replay: Replay) -> None:
        """In place of the one that was not used for longest, if there are too many."""
        self._replays[caches] = replay
        if len(self._replays) > self._recordings:
            _, oldest = self._replays.popitem(last=False)
            oldest.close()

    def record_no_more(self) -> None:
        self._recordings = 0

    def drop_recordings(self) -> None:
        """Free them; calls have to come twice again to be recorded."""
        for replay in self._replays.values():
            replay.close()
        self._replays.clear()
        self._seen.clear()
