"""A lock that is first come, first served, among threads."""

import threading
from collections import deque
from types import TracebackType


class FairLock:
    """A lock, as a context manager, that goes to whoever waits longest.

    `threading.Lock` may be taken again at once by the thread that gave it back: a long answer, which takes it
    for every token, would keep all others waiting to its end.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._taken = False

    @property
    def waiting(self) -> int:
        """How many threads wait."""
        return len(self._waiting)

    def __enter__(self) -> None:
        with self._guard:
            if not self._taken:
                self._taken = True
                return
            mine = threading.Event()
            self._waiting.append(mine)
        mine.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().set()  # passed on: it stays taken
            else:
                self._taken = False
