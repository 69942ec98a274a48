"""CUDA calls that raise, streams, and the points in them that others wait for."""

from collections.abc import Iterable
from typing import Any

from hyperseg_runtime.calls import tracing
from hyperseg_runtime.errors import HypersegError, ResourceError

OUT_OF_MEMORY = 2
"""cudaErrorMemoryAllocation"""
NOT_READY = 600
"""cudaErrorNotReady"""


def checked(cudart: Any, answer: tuple[Any, ...]) -> Any:
    """The value of a CUDA call. Raises ResourceError where memory ran out, HypersegError for any other status."""
    status, *values = answer
    if int(status):
        _, text = cudart.cudaGetErrorString(status)
        message = text.decode() if isinstance(text, bytes) else str(text)
        if int(status) == OUT_OF_MEMORY:
            raise ResourceError(f"CUDA: {message}")
        raise HypersegError(
            f"CUDA failed with status {int(status)}: {message}; no result of this process can be trusted"
        )
    return values[0] if values else None


class Event:
    """A point in the work of a stream."""

    def __init__(self, cudart: Any, stream: "Stream") -> None:
        self.stream = stream
        self.handle = checked(cudart, cudart.cudaEventCreateWithFlags(cudart.cudaEventDisableTiming))
        self._cudart = cudart
        checked(cudart, cudart.cudaEventRecord(self.handle, stream.handle))

    @property
    def reached(self) -> bool:
        answer = self._cudart.cudaEventQuery(self.handle)
        if int(answer[0]) == NOT_READY:
            return False
        checked(self._cudart, answer)
        return True

    def wait(self) -> None:
        """Let the host wait."""
        with tracing.event("wait"):
            checked(self._cudart, self._cudart.cudaEventSynchronize(self.handle))

    def __del__(self) -> None:
        if hasattr(self, "handle"):  # CUDA frees it once it has been reached
            self._cudart.cudaEventDestroy(self.handle)


class Stream:
    """Work in order, beside that of other streams."""

    def __init__(self, cudart: Any) -> None:
        self._cudart = cudart
        self.handle = int(checked(cudart, cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking)))

    def mark(self) -> Event:
        """The point after everything asked of it so far."""
        return Event(self._cudart, self)

    def wait_for(self, events: Iterable[Event]) -> None:
        """Later work waits for these points; the host does not."""
        for event in {event for event in events if event.stream is not self}:
            checked(self._cudart, self._cudart.cudaStreamWaitEvent(self.handle, event.handle, 0))

    def synchronise(self) -> None:
        with tracing.event("wait"):
            checked(self._cudart, self._cudart.cudaStreamSynchronize(self.handle))

    def close(self) -> None:
        """Wait for its work and end it."""
        self.synchronise()
        checked(self._cudart, self._cudart.cudaStreamDestroy(self.handle))
