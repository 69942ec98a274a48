"""How long a request may take, and whether anybody still waits for it."""

import time
from collections.abc import Callable

from hyperseg_serving.refusals import Reason, RefusalError

Cancelled = Callable[[], bool]
ASK_S = 0.02
"""How old the answer to `cancelled` may be: in the served models it crosses to another process."""


class Budget:
    """Counts from the request's arrival: waiting in line is part of what the caller allowed."""

    def __init__(self, cancelled: Cancelled, allowed_ms: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._cancelled = cancelled
        self._allowed_ms = allowed_ms
        self._clock = clock
        self._start_s = clock()
        self._asked_s = self._start_s  # it has only just come

    @property
    def spent_ms(self) -> float:
        return (self._clock() - self._start_s) * 1000

    def over(self) -> RefusalError | None:
        """Why no further work may be done, if there is a reason."""
        if self.spent_ms > self._allowed_ms:
            return RefusalError(Reason.TIMEOUT, f"not done after {self._allowed_ms} ms; ask for less or allow more")
        now_s = self._clock()
        if now_s - self._asked_s > ASK_S:
            self._asked_s = now_s
            if self._cancelled():
                return RefusalError(Reason.CANCELLED, "the caller went away or cancelled")
        return None

    def check(self) -> None:
        """Raises RefusalError when it is over."""
        why = self.over()
        if why is not None:
            raise why
