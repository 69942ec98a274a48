"""Letting others work while a call waits for a device, without handing a lock through every function.

with others_work_meanwhile(released):
    ...  # whatever waits below may say: with waiting(): ...
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

Released = Callable[[], AbstractContextManager[object]]

_released: ContextVar[Released] = ContextVar("released", default=nullcontext)


@contextmanager
def others_work_meanwhile(released: Released) -> Iterator[None]:
    """Enter `released()` around every wait of this thread inside."""
    token = _released.set(released)
    try:
        yield
    finally:
        _released.reset(token)


def waiting() -> AbstractContextManager[object]:
    """Around what only waits: in here nothing may be touched that others use."""
    return _released.get()()
