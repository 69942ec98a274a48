"""Stopping a call between its steps, without handing a deadline through every function.

with stoppable(check):
    ...  # anything below may say: may_go_on()
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_check: ContextVar[Callable[[], Exception | None]] = ContextVar("check", default=lambda: None)


class Stopped(BaseException):
    """The call was stopped because of `why`.

    No Exception, as `asyncio.CancelledError` is none: whatever turns what decoders and libraries raise into errors of
    ours must let it pass.
    """

    def __init__(self, why: Exception) -> None:
        super().__init__(str(why))
        self.why = why


@contextmanager
def stoppable(check: Callable[[], Exception | None]) -> Iterator[None]:
    """Let the work of this thread inside be stopped: as soon as `check` gives a reason it is raised, as it is."""
    token = _check.set(check)
    try:
        yield
    except Stopped as stopped:
        raise stopped.why from None
    finally:
        _check.reset(token)


def may_go_on() -> None:
    """To be called between steps that take long: every stage, every band of a large picture. Raises Stopped."""
    why = _check.get()()
    if why is not None:
        raise Stopped(why)
