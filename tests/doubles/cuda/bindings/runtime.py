"""The CUDA runtime calls that our sources make, on the GPU of `double_gpu`. Names and arguments are cuda-python's."""

# ruff: noqa: N802, N816

import enum
import os
from functools import partial
from types import SimpleNamespace
from typing import Any

from double_gpu import (
    BAD_HANDLE,
    CAPTURE_INVALIDATED,
    CAPTURE_ISOLATION,
    GPU,
    INSUFFICIENT_DRIVER,
    INVALID,
    KIND_DEVICE,
    KIND_PINNED,
    NO_DEVICE,
    NOT_READY,
    OUT_OF_MEMORY,
    SUCCESS,
    Event,
    Stream,
)

cudaEventDisableTiming = 2
cudaStreamNonBlocking = 1
cudaHostAllocDefault = 0
cudaMemcpyKind = enum.IntEnum(
    "cudaMemcpyKind", {"cudaMemcpyHostToDevice": 1, "cudaMemcpyDeviceToHost": 2, "cudaMemcpyDeviceToDevice": 3}
)
cudaStreamCaptureMode = enum.IntEnum("cudaStreamCaptureMode", {"cudaStreamCaptureModeThreadLocal": 1})
_TEXTS = {OUT_OF_MEMORY: b"out of memory", 700: b"an illegal memory access was encountered"}
_TEXTS |= {900: b"operation not permitted when stream is capturing", 901: b"operation failed due to a previous error"}


class _Recorded:
    """What instantiating a recording gives."""

    def __init__(self, actions: list[Any]) -> None:
        self.actions = actions


def cudaGetErrorString(status: int) -> tuple[int, bytes]:
    return SUCCESS, _TEXTS.get(int(status), b"an error of the double")


def cudaGetErrorName(status: int) -> tuple[int, bytes]:
    return SUCCESS, f"cudaError{int(status)}".encode()


def cudaGetDeviceCount() -> tuple[int, int | None]:
    """As cuda-bindings: no value beside a status. An old driver and none at all give the same status."""
    if forced := int(os.environ.get("DOUBLE_START_STATUS", "0")):
        return forced, None
    if cudaDriverGetVersion()[1] // 1000 < cudaRuntimeGetVersion()[1] // 1000:
        return INSUFFICIENT_DRIVER, None
    count = int(os.environ.get("DOUBLE_GPUS", "1"))
    return (SUCCESS, count) if count else (NO_DEVICE, None)


def cudaGetDeviceProperties(device: int) -> tuple[int, SimpleNamespace]:
    major, minor = map(int, os.environ.get("DOUBLE_CAPABILITY", "9.0").split("."))
    name = os.environ.get("DOUBLE_GPU_NAME", "Test GPU 80GB").encode() + b"\0\0"
    return SUCCESS, SimpleNamespace(name=name, major=major, minor=minor, totalGlobalMem=80 * 2**30)


def cudaDriverGetVersion() -> tuple[int, int]:
    """The newest CUDA that the driver runs; 0 without one."""
    return SUCCESS, int(os.environ.get("DOUBLE_DRIVER", "13000"))


def cudaRuntimeGetVersion() -> tuple[int, int]:
    return SUCCESS, int(os.environ.get("DOUBLE_CUDA_RUNTIME", "13000"))


def _allocate(kind: str, size: int) -> tuple[int, int | None]:
    status = GPU.waiting(lambda: None)
    if status != SUCCESS:
        return status, None
    address = GPU.allocate(kind, size)
    return (OUT_OF_MEMORY, None) if address is None else (SUCCESS, address)


def _free(kind: str, address: int) -> tuple[int]:
    """Waits for all work, as CUDA does."""
    status = GPU.waiting(GPU.drain)
    if status == SUCCESS and not GPU.memory[kind].free(address):
        return (INVALID,)
    return (status,)


def cudaMalloc(size: int) -> tuple[int, int | None]:
    return _allocate(KIND_DEVICE, size)


def cudaFree(address: int) -> tuple[int]:
    return _free(KIND_DEVICE, address)


def cudaHostAlloc(size: int, flags: int) -> tuple[int, int | None]:
    return _allocate(KIND_PINNED, size)


def cudaFreeHost(address: int) -> tuple[int]:
    return _free(KIND_PINNED, address)


def _stream(handle: Any) -> Stream:
    found = GPU.get(handle, Stream)
    assert isinstance(found, Stream)
    return found


def _event(handle: Any) -> Event:
    found = GPU.get(handle, Event)
    assert isinstance(found, Event)
    return found


def cudaMemcpyAsync(target: int, source: int, size: int, kind: int, stream: Any) -> tuple[int]:
    to_device, from_device = kind in (1, 3), kind in (2, 3)
    ends = ((target, to_device), (source, from_device))
    for address, on_device in ends:
        where = GPU.memory[KIND_DEVICE if on_device else KIND_PINNED]
        if where.find(address, size) is None:
            return (INVALID,)

    GPU.ledger.copied(int(kind), size)

    def copy() -> None:
        GPU.bytes_at(target, size)[:] = GPU.bytes_at(source, size)

    _stream(stream).put(copy)
    return (GPU.failed,)


def cudaMemsetAsync(address: int, value: int, size: int, stream: Any) -> tuple[int]:
    GPU.ledger.memsets += 1

    def fill() -> None:
        GPU.bytes_at(address, size)[:] = value

    _stream(stream).put(fill)
    return (GPU.failed,)


def cudaStreamCreateWithFlags(flags: int) -> tuple[int, int]:
    return SUCCESS, GPU.register(Stream())


def cudaStreamDestroy(stream: Any) -> tuple[int]:
    _stream(stream).run_to(None)
    del GPU.handles[int(stream)]
    return (SUCCESS,)


def cudaStreamSynchronize(stream: Any) -> tuple[int]:
    GPU.ledger.synchronisations += 1
    return (GPU.waiting(partial(_stream(stream).run_to, None)),)


def cudaStreamWaitEvent(stream: Any, event: Any, flags: int) -> tuple[int]:
    """For the event's latest record now, whatever it is used for later."""
    waiting, found = _stream(stream), _event(event)
    if waiting.recording is not None:
        waiting.spoiled = True
        return (CAPTURE_ISOLATION,)
    waiting.put(Event(found.stream, found.work).reach)
    return (GPU.failed,)


def cudaEventCreateWithFlags(flags: int) -> tuple[int, int]:
    return SUCCESS, GPU.register(Event())


def cudaEventRecord(event: Any, stream: Any) -> tuple[int]:
    found, own = _event(event), _stream(stream)
    found.stream, found.work = own, own.put(lambda: None)
    return (GPU.failed,)


def cudaEventSynchronize(event: Any) -> tuple[int]:
    GPU.ledger.synchronisations += 1
    return (GPU.waiting(_event(event).reach),)


def cudaEventQuery(event: Any) -> tuple[int]:
    """Nothing goes on while one only asks."""
    work = _event(event).work
    return (GPU.waiting(lambda: None) or (SUCCESS if work is None or work.done else NOT_READY),)


def cudaEventDestroy(event: Any) -> tuple[int]:
    return (SUCCESS if GPU.handles.pop(int(event), None) else BAD_HANDLE,)


def cudaStreamBeginCapture(stream: Any, mode: int) -> tuple[int]:
    own = _stream(stream)
    own.recording, own.spoiled = [], False
    return (SUCCESS,)


def cudaStreamEndCapture(stream: Any) -> tuple[int, int | None]:
    own = _stream(stream)
    actions, own.recording = own.recording or [], None
    return (CAPTURE_INVALIDATED, None) if own.spoiled else (SUCCESS, GPU.register(actions))


def cudaGraphInstantiate(graph: Any, flags: int) -> tuple[int, int]:
    actions = GPU.get(graph, list)
    assert isinstance(actions, list)
    return SUCCESS, GPU.register(_Recorded(actions))


def cudaGraphDestroy(graph: Any) -> tuple[int]:
    del GPU.handles[int(graph)]
    return (SUCCESS,)


def cudaGraphLaunch(recorded: Any, stream: Any) -> tuple[int]:
    found = GPU.get(recorded, _Recorded)
    assert isinstance(found, _Recorded)
    GPU.ledger.replays += 1
    for action in found.actions:
        _stream(stream).put(action)
    return (GPU.failed,)


def cudaGraphExecDestroy(recorded: Any) -> tuple[int]:
    del GPU.handles[int(recorded)]
    return (SUCCESS,)
