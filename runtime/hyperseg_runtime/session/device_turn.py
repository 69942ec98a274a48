"""Who gives work to the backend: one thread at a time, and another one while the first waits for its results."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Lock

from hyperseg_runtime.calls.waiting import others_work_meanwhile


class DeviceTurn:
    """A lock that its holder lets go of while a device works for it (see `calls.waiting`).

    So the next request's work is in the device's streams before the last one's is done. On a host nobody waits for a
    device, and the lock is a plain one.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._changed = Condition(self._lock)
        self._waiting = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        with self._lock, others_work_meanwhile(self._let_go):
            yield

    @contextmanager
    def held_by_the_last(self) -> Iterator[None]:
        """Held when nobody waits for results any more."""
        with self._lock:
            self._changed.wait_for(lambda: not self._waiting)
            yield

    @contextmanager
    def _let_go(self) -> Iterator[None]:
        self._waiting += 1
        self._lock.release()
        try:
            yield
        finally:
            self._lock.acquire()
            self._waiting -= 1
            self._changed.notify_all()
