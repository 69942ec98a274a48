"""Named spans in milliseconds."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Adds up the wall time of named spans, in the order they first appear."""

    def __init__(self) -> None:
        self.spans_ms: dict[str, float] = {}

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            elapsed = (time.perf_counter() - start) * 1000
            self.spans_ms[name] = self.spans_ms.get(name, 0.0) + elapsed
