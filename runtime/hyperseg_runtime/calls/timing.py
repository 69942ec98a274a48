"""How long the stages of a call take, without handing a watch through every function.

with recorded() as spans_ms:
    ...  # anything below may say: with span("decode"): ...
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from hyperseg_runtime.calls import tracing
from hyperseg_runtime.calls.stopping import may_go_on

_recording: ContextVar[dict[str, float] | None] = ContextVar("recording", default=None)


@contextmanager
def recorded() -> Iterator[dict[str, float]]:
    """Collects the spans of this thread's work inside: name -> wall time in milliseconds, in order of appearance.

    Inside another recording it stands alone: the outer one does not see its spans.
    """
    spans_ms: dict[str, float] = {}
    token = _recording.set(spans_ms)
    try:
        yield spans_ms
    finally:
        _recording.reset(token)


@contextmanager
def span(name: str) -> Iterator[None]:
    """Adds the wall time inside to the recording that is on, if any; equal names add up. An event of the trace, too
    (see `tracing`). Not begun in a call that is stopped (see `stopping`).
    """
    may_go_on()
    spans_ms = _recording.get()
    with tracing.event(name, "stage"):
        if spans_ms is None:
            yield
            return
        start = time.perf_counter()
        try:
            yield
        finally:
            spans_ms[name] = spans_ms.get(name, 0.0) + (time.perf_counter() - start) * 1000
