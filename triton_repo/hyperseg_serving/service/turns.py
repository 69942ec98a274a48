"""First come, first served, among threads."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """A lock that goes to whoever waits longest.

    `threading.Lock` may be taken again at once by the thread that gave it back: a long answer, which takes it
    for every token, would keep all others waiting to its end.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._taken = False

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @contextmanager
    def next(self) -> Iterator[None]:
        self._enter()
        try:
            yield
        finally:
            self._leave()

    def _enter(self) -> None:
        with self._guard:
            if not self._taken:
                self._taken = True
                return
            mine = threading.Event()
            self._waiting.append(mine)
        mine.wait()

    def _leave(self) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().set()  # handed over: it stays taken
            else:
                self._taken = False
