"""Numbers about requests on the server's own metrics page, beside those of the server."""

import threading
from collections.abc import Mapping
from typing import Any

from hyperseg_serving.refusals import Reason
from hyperseg_serving.service.responses import Response

SERVED = "hyperseg_requests_served"
REFUSED = "hyperseg_requests_refused"
MASKS = "hyperseg_masks"
PIECES = "hyperseg_answer_pieces"
PROMPT_TOKENS = "hyperseg_prompt_tokens"
REUSED_TOKENS = "hyperseg_prompt_tokens_reused"
STAGE_MS = "hyperseg_stage_ms"
STREAMS = "hyperseg_streams"

COUNTERS = {
    SERVED: "Requests answered to the end",
    REFUSED: "Requests refused or failed, by reason",
    MASKS: "Masks made",
    PIECES: "Pieces of text answers sent",
    PROMPT_TOKENS: "Rows of all prompts for masks",
    REUSED_TOKENS: "Rows of them that the key/value cache had already",
    STAGE_MS: "Wall time in each stage, milliseconds",
}


class Metrics:
    """`backend` is the module `triton_python_backend_utils`."""

    def __init__(self, backend: Any) -> None:
        family = backend.MetricFamily
        self._counters = {
            name: family(name=name, description=text, kind=family.COUNTER) for name, text in COUNTERS.items()
        }
        gauge = family(name=STREAMS, description="Video streams that are remembered", kind=family.GAUGE)
        self._families = [*self._counters.values(), gauge]  # a family must outlive its metrics
        self._streams = gauge.Metric(labels={})
        self._metrics: dict[tuple[str, str], Any] = {}
        # The Python backend of release 24.10 takes the whole server down (lock_exception, bad_alloc or a
        # segmentation fault) when two threads of a model change metrics at once. Changing them in turn avoids it;
        # unnecessary once eight clients for a minute do not end a server without this lock.
        self._lock = threading.Lock()

    def refused(self, reason: Reason) -> None:
        with self._lock:
            self._add(REFUSED, 1, {"reason": reason.value})

    def served(self, response: Response, streams: int) -> None:
        with self._lock:
            self._served(response, streams)

    def _served(self, response: Response, streams: int) -> None:
        self._streams.set(streams)
        if response.piece is not None:
            self._add(PIECES, 1)
        if response.result is None:
            return
        self._add(SERVED, 1)
        results = response.result["results"]
        self._add(MASKS, len(results))
        for result in results:
            self._add(PROMPT_TOKENS, result["prompt_tokens"])
            self._add(REUSED_TOKENS, result["reused_tokens"])
        for stage, spent_ms in results[-1]["timings_ms"].items() if results else ():
            self._add(STAGE_MS, spent_ms, {"stage": stage})

    def _add(self, name: str, amount: float, labels: Mapping[str, str] | None = None) -> None:
        key = name, str(labels)
        if key not in self._metrics:
            self._metrics[key] = self._counters[name].Metric(labels=dict(labels or {}))
        self._metrics[key].increment(amount)
