"""An execution context of one profile: the shapes it is set to, and what was recorded with them."""

from collections.abc import Mapping
from typing import Any

from hyperseg_runtime.backends.tensorrt.logger import reason
from hyperseg_runtime.backends.tensorrt.profiles import Shape
from hyperseg_runtime.backends.tensorrt.recordings import Recordings
from hyperseg_runtime.errors import HypersegError


class ShapedContext:
    """What TensorRT keeps of the shapes on the device belongs to the context and not to a recording, so recordings
    end when the shapes change.
    """

    def __init__(self, graph: str, context: Any, logger: Any, recordings: int) -> None:
        self.context = context
        self.recordings = Recordings(recordings)
        """Of this context alone."""
        self._all = [self.recordings]
        self._graph = graph
        self._logger = logger
        self._shapes: Mapping[str, Shape] = {}

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

    def takes_part_in(self, recordings: Recordings) -> None:
        """They were made with the shapes of other contexts, too, and end with these here."""
        self._all.append(recordings)

    def drop_recordings(self) -> None:
        for recordings in self._all:
            recordings.drop()
