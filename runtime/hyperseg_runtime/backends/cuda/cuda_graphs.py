"""Calls recorded once and replayed: one launch instead of hundreds."""

from collections.abc import Mapping, Sequence
from typing import Any

from hyperseg_runtime.backends.cuda.device import Device, DeviceBuffer
from hyperseg_runtime.backends.cuda.memory import using
from hyperseg_runtime.backends.cuda.streams import Stream, checked

Buffers = Mapping[str, DeviceBuffer]


class Replay:
    """A recorded call. Addresses are part of the recording: it has inputs and outputs of its own, copied from and
    to the caller's, but for the caches, which are too large to copy; a recording is for one set of them.
    """

    def __init__(
        self,
        device: Device,
        stream: Stream,
        inputs: Buffers,
        outputs: Buffers,
        recorded: Any,
        between: Sequence[DeviceBuffer] = (),
    ) -> None:
        """`between` are buffers that the recording uses beside them."""
        self._device = device
        self._stream = stream
        self._inputs = inputs
        self._outputs = outputs
        self._recorded = recorded
        self._between = between

    def run(self, inputs: Buffers, caches: Buffers) -> dict[str, DeviceBuffer]:
        """New buffers with the outputs; the caches are updated in place."""
        outputs = {name: self._device.empty(own.dtype, own.shape) for name, own in self._outputs.items()}
        reads = [inputs[name].block for name in self._inputs]
        own = [buffer.block for buffer in (*self._inputs.values(), *self._outputs.values())]
        made = [buffer.block for buffer in (*outputs.values(), *caches.values())]
        cudart = self._device.cudart
        with using(self._stream, reads, [*own, *made]):
            for name, buffer in self._inputs.items():
                self._copy(buffer, inputs[name])
            checked(cudart, cudart.cudaGraphLaunch(self._recorded, self._stream.handle))
            for name, buffer in outputs.items():
                self._copy(buffer, self._outputs[name])
        return outputs

    def _copy(self, target: DeviceBuffer, source: DeviceBuffer) -> None:
        cudart = self._device.cudart
        kind = cudart.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        into, out_of = target.block.address, source.block.address
        checked(cudart, cudart.cudaMemcpyAsync(into, out_of, source.size_bytes, kind, self._stream.handle))

    def close(self) -> None:
        """Wait for what is under way and free the recording."""
        self._stream.synchronise()
        checked(self._device.cudart, self._device.cudart.cudaGraphExecDestroy(self._recorded))


def record(cudart: Any, stream: Stream, enqueue: Any) -> Any:
    """What `enqueue()` puts into `stream`, recorded and not run. Raises HypersegError where it cannot be recorded."""
    # Only this thread is watched: other programs in the process may ask for memory meanwhile.
    mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    checked(cudart, cudart.cudaStreamBeginCapture(stream.handle, mode))
    try:
        enqueue()
    except BaseException:
        status, captured = cudart.cudaStreamEndCapture(stream.handle)  # or the stream stays unusable
        if not int(status):
            cudart.cudaGraphDestroy(captured)
        raise
    captured = checked(cudart, cudart.cudaStreamEndCapture(stream.handle))
    try:
        return checked(cudart, cudart.cudaGraphInstantiate(captured, 0))
    finally:
        checked(cudart, cudart.cudaGraphDestroy(captured))
