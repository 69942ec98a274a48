"""Numbers about requests on the server's own metrics page, beside those of the server.

The server sees a decoupled model as done when it has taken a request, and knows nothing of what waits inside: its own
queue and compute times say little of these models. All names are there from the start, with 0.
"""

import threading
from collections import defaultdict
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from hyperseg_serving.refusals import Reason
from hyperseg_serving.service.admission import LaneName
from hyperseg_serving.service.responses import Response

SERVED = "hyperseg_requests_served"
REFUSED = "hyperseg_requests_refused"
MASKS = "hyperseg_masks"
MASK_PIXELS = "hyperseg_mask_pixels"
PIECES = "hyperseg_answer_pieces"
PROMPT_TOKENS = "hyperseg_prompt_tokens"
REUSED_TOKENS = "hyperseg_prompt_tokens_reused"
STAGE_MS = "hyperseg_stage_ms"
STREAMS = "hyperseg_streams"
WAITING = "hyperseg_requests_waiting"
ACTIVE = "hyperseg_requests_active"
WAIT_MS, REQUEST_MS, MODEL_MS = "hyperseg_wait_ms", "hyperseg_request_ms", "hyperseg_model_ms"


class Kind(StrEnum):
    """What was answered to the end."""

    MASKS = "masks"
    ANSWER = "answer"
    FRAME = "frame"
    LIVE = "live"
    CANARY = "canary"
    CANCEL = "cancel"


LABELS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    SERVED: ("kind", tuple(Kind)),
    REFUSED: ("reason", tuple(Reason)),
    WAITING: ("lane", tuple(LaneName)),
    ACTIVE: ("lane", tuple(LaneName)),
}
"""Label and its values, of those that have one and whose values are known."""
COUNTERS = {
    SERVED: "Requests answered to the end, by what they asked",
    REFUSED: "Requests refused or failed, by reason",
    MASKS: "Masks of instances, classes and segments",
    MASK_PIXELS: "Cost of the requests taken: pixels of the image times masks asked for",
    PIECES: "Pieces of text answers sent",
    PROMPT_TOKENS: "Rows of all prompts for masks",
    REUSED_TOKENS: "Rows of them that the key/value cache had already",
    STAGE_MS: "Wall time in each stage, milliseconds",
}
GAUGES = {
    STREAMS: "Video streams that are remembered",
    WAITING: "Requests that wait, by lane",
    ACTIVE: "Requests that are worked on, by lane",
}
HISTOGRAMS = {
    WAIT_MS: "From a request's arrival to the begin of work, milliseconds",
    REQUEST_MS: "From a request's arrival to its last response, milliseconds",
    MODEL_MS: "Time of a request's turns with the pipeline, milliseconds",
}
"""Written as counters NAME_bucket (label le), NAME_sum and NAME_count: models of older servers have no histograms."""
BUCKETS_MS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 120_000)
MASK_ROWS = ("instances", "classes", "segments_info")
"""Where each kind of result holds its masks."""
DETAILS = {"prompt_tokens": PROMPT_TOKENS, "reused_tokens": REUSED_TOKENS}
"""Details of a result that are counted, of the families that give them."""

Key = tuple[str, str, str]
"""Name, label, and the label's value; both empty for none."""


def names() -> set[str]:
    """Everything that a page shows."""
    parts = {f"{name}_{part}" for name in HISTOGRAMS for part in ("bucket", "sum", "count")}
    return {*COUNTERS, *GAUGES, *parts}


class Metrics:
    """Counts from any thread; `publish` hands what came together to the server.

    `backend` is the module `triton_python_backend_utils`. Its Python backend of release 24.10 takes the whole server
    down (lock_exception, bad_alloc or a segmentation fault) when two threads of a model change metrics at once: only
    one thread may publish. Each change also crosses to the server's process, so they are put together.
    """

    def __init__(self, backend: Any) -> None:
        self._lock = threading.Lock()
        self._added: dict[Key, float] = defaultdict(float)
        self._set: dict[Key, float] = {}
        self._families = {}
        buckets = {f"{name}_bucket": text for name, text in HISTOGRAMS.items()}
        sums = {f"{name}_{part}": text for name, text in HISTOGRAMS.items() for part in ("sum", "count")}
        for kind, described in (
            (backend.MetricFamily.COUNTER, {**COUNTERS, **buckets, **sums}),
            (backend.MetricFamily.GAUGE, GAUGES),
        ):
            for name, text in described.items():
                self._families[name] = backend.MetricFamily(name=name, description=text, kind=kind)
        self._metrics: dict[Key, Any] = {}
        for name in (*COUNTERS, *sums):
            label, values = LABELS.get(name, ("", ("",)))
            if name != STAGE_MS:  # its stages are the family's own
                self._added |= {(name, label, value): 0.0 for value in values}
        for name in GAUGES:
            label, values = LABELS.get(name, ("", ("",)))
            self._set |= {(name, label, value): 0.0 for value in values}
        for name in buckets:
            self._added |= {(name, "le", edge): 0.0 for edge in _edges()}
        self.publish()

    def refused(self, reason: Reason) -> None:
        self.add(REFUSED, 1, "reason", reason)

    def served(self, kind: Kind) -> None:
        self.add(SERVED, 1, "kind", kind)

    def responded(self, response: Response) -> None:
        """What a response holds."""
        if response.piece is not None:
            self.add(PIECES, 1)
        results = response.results()
        for result in results:
            self.add(MASKS, sum(len(result.get(rows, ())) for rows in MASK_ROWS))
            for detail, counter in DETAILS.items():
                self.add(counter, result["details"].get(detail, 0))
        for stage, spent_ms in results[-1]["timings_ms"].items() if results else ():
            self.add(STAGE_MS, spent_ms, "stage", stage)

    def observed(self, name: str, value_ms: float) -> None:
        """One value of a histogram."""
        self.add(f"{name}_sum", value_ms)
        self.add(f"{name}_count", 1)
        for edge in _edges():
            if value_ms <= float(edge):
                self.add(f"{name}_bucket", 1, "le", edge)

    def add(self, name: str, amount: float, label: str = "", value: str = "") -> None:
        with self._lock:
            self._added[name, label, value] += amount

    def set(self, name: str, amount: float, label: str = "", value: str = "") -> None:
        with self._lock:
            self._set[name, label, value] = amount

    def publish(self) -> None:
        """From one thread only."""
        with self._lock:
            added, self._added = self._added, defaultdict(float)
            newest, self._set = self._set, {}
        for key, amount in added.items():
            if amount or key not in self._metrics:
                self._metric(key).increment(amount)
        for key, amount in newest.items():
            self._metric(key).set(amount)

    def _metric(self, key: Key) -> Any:
        if key not in self._metrics:
            name, label, value = key
            self._metrics[key] = self._families[name].Metric(labels={label: value} if label else {})
        return self._metrics[key]


def _edges() -> tuple[str, ...]:
    return (*map(str, BUCKETS_MS), "+Inf")
