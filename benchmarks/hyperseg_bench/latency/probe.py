"""A fixed piece of work, done again and again between samples: where it takes longer, something else ran."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from types import TracebackType
from typing import Self

PROBE_BYTES = 4 * 2**20
IN_A_ROW = 3
"""The quickest of so many counts. Threads that wake together may begin on one core (Linux), which takes twice as long:
two of three first ones after a sleep, one of seven second ones, on 2 cores that did nothing else."""
DISTURBED = 1.3
"""A probe that took so many times what the quickest tenth took: its neighbours were disturbed."""


class Probe:
    """SHA-256 of the same bytes in as many threads as the work may use, which hashlib runs side by side."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads)
        self._data = [bytes(PROBE_BYTES)] * threads

    def ms(self) -> float:
        return min(self._once() for _ in range(IN_A_ROW))

    def _once(self) -> float:
        start = perf_counter()
        for done in self._pool.map(hashlib.sha256, self._data):
            done.digest()
        return 1000 * (perf_counter() - start)

    def __enter__(self) -> Self:
        self.ms()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()
