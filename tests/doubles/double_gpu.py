"""A GPU in host memory, as careless programs meet it: work waits in its stream until somebody has to have it.

Whoever reads without waiting, or reuses memory that work still needs, gets wrong numbers: fresh and freed memory is
filled with bytes that are NaN as floats. Work that touches memory which is not there is an error that stays, as on
a GPU. Calls that are illegal while a stream is being recorded spoil the recording.
"""

import os
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import RLock

import numpy as np

SUCCESS, INVALID, OUT_OF_MEMORY, NO_DEVICE, BAD_HANDLE, NOT_READY = 0, 1, 2, 100, 400, 600
INSUFFICIENT_DRIVER = 35
ILLEGAL_ADDRESS, CAPTURE_UNSUPPORTED, CAPTURE_INVALIDATED, CAPTURE_ISOLATION = 700, 900, 901, 905
POISON = 0xFF
ALIGNMENT = 256
KIND_DEVICE, KIND_PINNED = "device", "pinned"

Action = Callable[[], None]


class IllegalAddressError(Exception):
    pass


class Memory:
    """Blocks of one kind; freed ones are kept, poisoned, so that a stray host access is seen and not fatal."""

    def __init__(self) -> None:
        self.blocks: dict[int, np.ndarray] = {}
        self._kept: list[np.ndarray] = []

    @property
    def live_bytes(self) -> int:
        return sum(block.nbytes for block in self.blocks.values())

    def allocate(self, size: int) -> int:
        raw = np.full(size + ALIGNMENT, POISON, np.uint8)
        self._kept.append(raw)
        start = -raw.ctypes.data % ALIGNMENT
        block = raw[start : start + size]
        self.blocks[block.ctypes.data] = block
        return int(block.ctypes.data)

    def free(self, address: int) -> bool:
        block = self.blocks.pop(address, None)
        if block is not None:
            block[:] = POISON
        return block is not None

    def find(self, address: int, size: int) -> np.ndarray | None:
        """The bytes, if they lie in one block."""
        starts = sorted(self.blocks)
        index = bisect_right(starts, address) - 1
        if index < 0:
            return None
        offset = address - starts[index]
        block = self.blocks[starts[index]]
        return block[offset : offset + size] if offset + size <= block.nbytes else None


@dataclass
class Work:
    action: Action
    done: bool = False


ONE_AFTER_ANOTHER = RLock()  # work waits for that of other streams


@dataclass(eq=False)
class Stream:
    pending: deque[Work] = field(default_factory=deque)
    recording: list[Action] | None = None
    spoiled: bool = False

    def put(self, action: Action) -> Work:
        work = Work(action)
        if self.recording is not None:
            self.recording.append(action)
        else:
            self.pending.append(work)
        return work

    def run_to(self, work: Work | None) -> None:
        """Do what is pending up to `work`, or all of it. In its order, however many threads wait for it."""
        with ONE_AFTER_ANOTHER:
            while self.pending and not (work and work.done):
                next_one = self.pending.popleft()
                next_one.action()
                next_one.done = True


@dataclass(eq=False)
class Event:
    stream: Stream | None = None
    work: Work | None = None

    def reach(self) -> None:
        if self.stream and self.work and not self.work.done:
            self.stream.run_to(self.work)


@dataclass
class Ledger:
    """What a program asked of the GPU, call by call. Work inside an engine, and that of a replay, is not seen."""

    enqueues: int = 0  # of engines; what is recorded does not run
    replays: int = 0
    uploads: int = 0
    upload_bytes: int = 0
    downloads: int = 0
    download_bytes: int = 0
    device_copies: int = 0
    memsets: int = 0
    synchronisations: int = 0  # the host waited for a stream or an event

    def copied(self, kind: int, size: int) -> None:
        """By cudaMemcpyKind (CUDA's driver_types.h)."""
        if kind == 1:
            self.uploads, self.upload_bytes = self.uploads + 1, self.upload_bytes + size
        elif kind == 2:
            self.downloads, self.download_bytes = self.downloads + 1, self.download_bytes + size
        else:
            self.device_copies += 1


class Gpu:
    def __init__(self) -> None:
        self.ledger = Ledger()
        self.memory = {KIND_DEVICE: Memory(), KIND_PINNED: Memory()}
        self.handles: dict[int, object] = {}
        self.failed = SUCCESS
        self._next = 1

    def register(self, thing: object) -> int:
        self._next += 1
        self.handles[self._next] = thing
        return self._next

    def get(self, handle: object, kind: type) -> object:
        found = self.handles.get(int(handle))  # type: ignore[call-overload]
        assert isinstance(found, kind), f"{handle} is no live {kind.__name__}"
        return found

    def live(self, kind: type) -> int:
        return sum(isinstance(thing, kind) for thing in self.handles.values())

    def bytes_at(self, address: int, size: int) -> np.ndarray:
        """Memory of either kind. Raises IllegalAddressError."""
        for memory in self.memory.values():
            if (found := memory.find(address, size)) is not None:
                return found
        raise IllegalAddressError(f"{size} bytes at {address:#x}")

    def recording_streams(self) -> list[Stream]:
        return [s for s in self.handles.values() if isinstance(s, Stream) and s.recording is not None]

    def waiting(self, action: Action) -> int:
        """Status of a call that makes the host wait, or that asks the system for memory: illegal in recordings."""
        for stream in self.recording_streams():
            stream.spoiled = True
            return CAPTURE_UNSUPPORTED
        return self.doing(action)

    def doing(self, action: Action) -> int:
        """Status of running `action`; a wrong address makes everything fail from then on."""
        if self.failed == SUCCESS:
            try:
                action()
            except IllegalAddressError:
                self.failed = ILLEGAL_ADDRESS
        return self.failed

    def drain(self) -> None:
        for stream in [s for s in self.handles.values() if isinstance(s, Stream)]:
            stream.run_to(None)

    def allocate(self, kind: str, size: int) -> int | None:
        limit = int(os.environ.get("DOUBLE_MEMORY_BYTES", 1 << 40))
        memory = self.memory[kind]
        if kind == KIND_DEVICE and memory.live_bytes + size > limit:
            return None
        return memory.allocate(size)


GPU = Gpu()
