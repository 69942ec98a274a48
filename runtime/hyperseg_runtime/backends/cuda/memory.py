"""Blocks of memory that know which work still uses them, so that nobody has to wait for all of it."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from hyperseg_runtime.backends.cuda.streams import Event, Stream
from hyperseg_runtime.errors import ResourceError

SMALLEST_BYTES = 512
STEPS = 8
"""Sizes between two powers of two: at most an eighth of a block is not used."""


class Block:
    """A piece of memory, the work that last wrote it and the work that has read it since."""

    def __init__(self, address: int, size_bytes: int) -> None:
        self.address = address
        self.size_bytes = size_bytes
        self._written: Event | None = None
        self._read: dict[Stream, Event] = {}  # the last of each stream; those before it are done by then

    def before_reading(self) -> Iterator[Event]:
        """What a reader waits for."""
        if self._written:
            yield self._written

    def before_writing(self) -> Iterator[Event]:
        """What a writer waits for: also the readers."""
        yield from self.before_reading()
        yield from self._read.values()

    def read_until(self, event: Event) -> None:
        self._read[event.stream] = event

    def written_at(self, event: Event) -> None:
        self._written = event
        self._read.clear()

    @property
    def idle(self) -> bool:
        """Whether no work uses the block any more."""
        return all(event.reached for event in self.before_writing())

    def wait_until_idle(self) -> None:
        """Let the host wait until no work uses the block."""
        for event in self.before_writing():
            event.wait()


@contextmanager
def using(stream: Stream, reads: Iterable[Block], writes: Sequence[Block]) -> Iterator[None]:
    """Order the work that the caller puts into `stream` here against all other users of these blocks."""
    written = set(writes)
    only_read = [block for block in reads if block not in written]
    stream.wait_for(event for block in only_read for event in block.before_reading())
    stream.wait_for(event for block in written for event in block.before_writing())
    try:
        yield
    finally:
        event = stream.mark()
        for block in only_read:
            block.read_until(event)
        for block in written:
            block.written_at(event)


class Pool:
    """Blocks of one kind of memory, kept for the next taker: getting memory from the system stops all streams.

    Blocks may come back at any time, also from Python's garbage collector in the middle of a call.

    A block goes to its next taker once no work uses it; one that is in use would chain streams to each other that
    have nothing to do with each other.
    """

    def __init__(self, kind: str, allocate: Callable[[int], int], free: Callable[[int], object]) -> None:
        self.kind = kind
        self.epoch = 0
        """Counts how often idle memory was given back to the system."""
        self._allocate = allocate
        self._free = free
        self._blocks: set[Block] = set()
        self._idle: defaultdict[int, deque[Block]] = defaultdict(deque)
        self._closed = False

    @property
    def used_bytes(self) -> int:
        return sum(block.size_bytes for block in tuple(self._blocks)) - self.idle_bytes

    @property
    def idle_bytes(self) -> int:
        return sum(block.size_bytes for blocks in tuple(self._idle.values()) for block in tuple(blocks))

    def take(self, size_bytes: int) -> Block:
        """A block of at least this size. Raises ResourceError."""
        size = rounded(size_bytes)
        waiting = self._idle[size]
        known = next((block for block in tuple(waiting) if block.idle), None)
        if known is not None:
            waiting.remove(known)
            return known
        block = Block(self._allocated(size), size)
        self._blocks.add(block)
        return block

    def give_back(self, block: Block) -> None:
        """Of a closed pool too: then it is freed at once."""
        if block not in self._blocks:
            return
        if self._closed:
            self._release(block)
        else:
            self._idle[block.size_bytes].append(block)

    def trim(self) -> None:
        """Give idle blocks back to the system; waits for the work that uses them."""
        self.epoch += 1
        for blocks in tuple(self._idle.values()):
            while blocks:
                self._release(blocks.popleft())

    def close(self, everything: bool) -> None:
        """Free idle blocks, and with `everything` those in use too; the others follow when given back."""
        self._closed = True
        self.trim()
        for block in list(self._blocks) if everything else ():
            self._release(block)

    def _allocated(self, size_bytes: int) -> int:
        try:
            return self._allocate(size_bytes)
        except ResourceError:
            self.trim()
        try:
            return self._allocate(size_bytes)
        except ResourceError as error:
            raise ResourceError(
                f"{self.kind} ran out: {size_bytes / 1e6:,.1f} MB more are needed, {self.used_bytes / 1e6:,.1f} MB are "
                "in use here; close sessions, lower cache_bytes, or end other programs on the GPU"
            ) from error

    def _release(self, block: Block) -> None:
        self._blocks.discard(block)
        block.wait_until_idle()
        self._free(block.address)


def rounded(size_bytes: int) -> int:
    """The next size of a block."""
    size = max(size_bytes, SMALLEST_BYTES)
    step = 1 << ((size - 1).bit_length() - STEPS.bit_length())
    return -(-size // step) * step
