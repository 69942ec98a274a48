"""The memory of one GPU as buffers, and the two streams that move data."""

import ctypes
import math
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hyperseg_runtime.backends.base import Buffer
from hyperseg_runtime.backends.cuda.memory import Block, Pool, using
from hyperseg_runtime.backends.cuda.streams import Stream, checked
from hyperseg_runtime.calls import tracing
from hyperseg_runtime.calls.waiting import waiting
from hyperseg_runtime.contracts import bfloat16
from hyperseg_runtime.contracts.graph_spec import DType, TensorSpec
from hyperseg_runtime.errors import InputError

BITS_OF = {DType.BFLOAT16: np.uint16, DType.FLOAT8: np.uint8, DType.INT4: np.uint8}
"""Types that NumPy lacks travel as their bits."""
HOST_TYPES = {dtype: np.dtype(BITS_OF.get(dtype, str(dtype))) for dtype in DType}
"""How a tensor's bytes look on the host."""


class DeviceBuffer:
    """A tensor on the GPU. Its memory goes back to the device's pool with the last reference to it."""

    def __init__(self, device: "Device", block: Block, dtype: DType, shape: tuple[int, ...]) -> None:
        self.device = device
        self.block = block
        self.dtype = dtype
        self.shape = shape
        self.host_copy: np.ndarray | None = None
        """What `to_host` gave; whoever writes the buffer drops it."""
        weakref.finalize(self, device.memory.give_back, block)

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def to_host(self) -> np.ndarray:
        (values,) = self.device.to_host([self])
        return values


class Device:
    """Buffers of the current CUDA device. Calls come from one thread at a time; `Pipeline` sees to that."""

    def __init__(self, cudart: Any) -> None:
        self.cudart = cudart
        self._uploads = Stream(cudart)  # apart from copies: an upload need not wait for a network's result
        self._copies = Stream(cudart)
        self.memory = Pool("GPU memory", self._malloc, lambda address: checked(cudart, cudart.cudaFree(address)))
        self._pinned = Pool(
            "pinned host memory",
            lambda size: int(checked(cudart, cudart.cudaHostAlloc(size, cudart.cudaHostAllocDefault))),
            lambda address: checked(cudart, cudart.cudaFreeHost(address)),
        )
        self._closed = False

    def _malloc(self, size_bytes: int) -> int:
        return int(checked(self.cudart, self.cudart.cudaMalloc(size_bytes)))

    def empty(self, dtype: DType, shape: tuple[int, ...]) -> DeviceBuffer:
        """A buffer with whatever the memory holds."""
        self.require_open()
        return DeviceBuffer(self, self.memory.take(math.prod(shape) * dtype.itemsize), dtype, shape)

    def upload(self, array: np.ndarray, dtype: DType | None = None) -> DeviceBuffer:
        """A copy of `array`, in `dtype` if given."""
        target = dtype or DType(str(array.dtype))
        bits = bfloat16.to_bits(array) if target is DType.BFLOAT16 else array
        bits = np.ascontiguousarray(bits, HOST_TYPES[target])
        buffer = self.empty(target, array.shape)
        staged = self._pinned.take(bits.nbytes)
        try:
            with tracing.event("upload"):
                ctypes.memmove(staged.address, bits.ctypes.data, bits.nbytes)
                kind = self.cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
                self._copy(self._uploads, buffer.block, 0, staged, 0, bits.nbytes, kind)
        finally:
            self._pinned.give_back(staged)
        return buffer

    def to_host(self, buffers: Sequence[DeviceBuffer]) -> list[np.ndarray]:
        """The values in pinned memory, read-only; bfloat16 as float32. Waits once: the copies are in one
        stream, and other calls may be made meanwhile (see `calls.waiting`).
        """
        self.require_open()
        staged = [(buffer, self._start_download(buffer)) for buffer in buffers if buffer.host_copy is None]
        if staged:
            with waiting():
                staged[-1][1].wait_until_idle()
        for buffer, block in staged:
            buffer.host_copy = self._values(buffer, block)
        return [buffer.host_copy for buffer in buffers if buffer.host_copy is not None]

    def _start_download(self, buffer: DeviceBuffer) -> Block:
        staged = self._pinned.take(buffer.size_bytes)
        kind = self.cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._copy(self._copies, staged, 0, buffer.block, 0, buffer.size_bytes, kind)
        return staged

    def _values(self, buffer: DeviceBuffer, staged: Block) -> np.ndarray:
        values = np.asarray(_PinnedArray(self._pinned, staged, HOST_TYPES[buffer.dtype], buffer.shape))
        if buffer.dtype is DType.BFLOAT16:
            values = bfloat16.from_bits(values)
            values.flags.writeable = False
        return values

    def zeros(self, spec: TensorSpec, sizes: Mapping[str, int]) -> DeviceBuffer:
        shape = spec.shape(sizes)
        buffer = self.empty(spec.dtype, shape)
        with using(self._copies, (), [buffer.block]):
            handle = self._copies.handle
            checked(self.cudart, self.cudart.cudaMemsetAsync(buffer.block.address, 0, buffer.size_bytes, handle))
        return buffer

    def copy_rows(self, target: Buffer, batch: int, start: int, source: Buffer, source_batch: int) -> None:
        """See `backends.base.Backend`. One copy from device to device: rows of one batch lie together."""
        into, taken = self.own(target, "target"), self.own(source, "source")
        if into.dtype is not taken.dtype or into.shape[2:] != taken.shape[2:]:
            raise InputError(f"rows {taken.dtype} {taken.shape[2:]} do not fit {into.dtype} {into.shape[2:]}")
        if start + taken.shape[1] > into.shape[1] or batch >= into.shape[0] or source_batch >= taken.shape[0]:
            raise InputError(f"rows {taken.shape} of batch {source_batch} do not fit {into.shape} from row {start} on")
        row_bytes = math.prod(into.shape[2:]) * into.dtype.itemsize
        size_bytes = taken.shape[1] * row_bytes
        self._copy(
            self._copies,
            into.block,
            (batch * into.shape[1] + start) * row_bytes,
            taken.block,
            source_batch * size_bytes,
            size_bytes,
            self.cudart.cudaMemcpyKind.cudaMemcpyDeviceToDevice,
        )
        into.host_copy = None

    def own(self, buffer: Buffer, name: str) -> DeviceBuffer:
        """Raises InputError for a buffer of another backend or device object."""
        if not isinstance(buffer, DeviceBuffer) or buffer.device is not self:
            raise InputError(f"{name} is not a buffer of this backend")
        self.require_open()
        return buffer

    def require_open(self) -> None:
        if self._closed:
            raise InputError("the backend is closed; load the bundle again")

    def close(self) -> None:
        """Free the GPU's memory. Arrays that `to_host` gave stay valid."""
        if self._closed:
            return
        self._closed = True
        for stream in (self._uploads, self._copies):
            stream.close()
        self.memory.close(everything=True)
        self._pinned.close(everything=False)

    def _copy(
        self, stream: Stream, target: Block, to_byte: int, source: Block, from_byte: int, size_bytes: int, kind: Any
    ) -> None:
        with using(stream, [source], [target]):
            into, out_of = target.address + to_byte, source.address + from_byte
            checked(self.cudart, self.cudart.cudaMemcpyAsync(into, out_of, size_bytes, kind, stream.handle))


class _PinnedArray:
    """Lets NumPy read a block of pinned memory, which goes back to its pool with the last array over it."""

    def __init__(self, pool: Pool, block: Block, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        read_only = True
        self.__array_interface__ = {
            "version": 3,
            "data": (block.address, read_only),
            "typestr": dtype.str,
            "shape": shape,
        }
        weakref.finalize(self, pool.give_back, block)
