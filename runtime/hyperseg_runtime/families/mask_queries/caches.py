"""Key/value buffers of the language model, and who has them."""

import weakref
from collections import deque
from collections.abc import Callable

from hyperseg_runtime.backends.base import Buffer

Caches = dict[str, Buffer]
"""Key/value buffers by input name; one set belongs to one batch of prompts."""


class LentCaches(Caches):
    """They go back to the lender when nobody holds them any more, if what they hold is known to be numbers."""

    def __init__(self, buffers: Caches, give_back: Callable[[Caches], None]) -> None:
        super().__init__(buffers)
        self._give_back = give_back
        self._return: weakref.finalize[[Caches], LentCaches] | None = None
        self.trust()

    def trust(self) -> None:
        """What was written last was read and is numbers."""
        if self._return is None:
            self._return = weakref.finalize(self, self._give_back, dict(self))
            self._return.atexit = False

    def doubt(self) -> None:
        """They are written to: until somebody has read the result nobody else gets them."""
        if self._return is not None:
            self._return.detach()
            self._return = None


class CacheLender:
    """Lends buffers for one prompt. Those of an image that is gone are lent again as they are: what they hold are
    numbers, which are masked, and calls that were recorded with their addresses stay valid. `most` sets are kept.
    """

    def __init__(self, make: Callable[[], Caches], most: int) -> None:
        self._make = make
        self._spare: deque[Caches] = deque(maxlen=most)
        self._closed = False

    def lend(self) -> LentCaches:
        return LentCaches(self._spare.pop() if self._spare else self._make(), self._take_back)

    def _take_back(self, buffers: Caches) -> None:
        if not self._closed:
            self._spare.append(buffers)

    def close(self) -> None:
        """Keep none any more; those that are still lent go when their holders do."""
        self._closed = True
        self._spare.clear()
