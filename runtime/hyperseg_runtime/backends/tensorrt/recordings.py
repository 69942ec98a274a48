"""Recorded calls of one set of shapes, by the caches that they update."""

from collections import OrderedDict

from hyperseg_runtime.backends.cuda.cuda_graphs import Replay

SEEN = 64
"""Calls that are remembered to see whether they come again."""

Addresses = tuple[int, ...]
"""Of the caches of a call."""


class Recordings:
    """A recording is for one set of caches; at most `limit` are kept."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._replays: OrderedDict[Addresses, Replay] = OrderedDict()
        self._seen: OrderedDict[Addresses, None] = OrderedDict()

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
        return again and self._limit > 0

    def keep(self, caches: Addresses, replay: Replay) -> None:
        """In place of the one that was not used for longest, if there are too many."""
        self._replays[caches] = replay
        if len(self._replays) > self._limit:
            _, oldest = self._replays.popitem(last=False)
            oldest.close()

    def record_no_more(self) -> None:
        self._limit = 0

    def drop(self) -> None:
        """Free them; calls have to come twice again to be recorded."""
        for replay in self._replays.values():
            replay.close()
        self._replays.clear()
        self._seen.clear()
