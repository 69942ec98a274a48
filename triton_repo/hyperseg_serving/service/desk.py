"""Where requests come in: refused at once, put in line, worked on, answered, counted. Nothing here waits for work."""

import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from hyperseg_serving.contract import Limits, Probe
from hyperseg_serving.refusals import STOPPING, Failure, Reason, RefusalError, failure_of
from hyperseg_serving.service import metrics
from hyperseg_serving.service.admission import Admission, Ticket
from hyperseg_serving.service.budget import Budget
from hyperseg_serving.service.cost import Cost, cost_of
from hyperseg_serving.service.metrics import Kind, Metrics
from hyperseg_serving.service.requests import Request, Tensors, parse_request
from hyperseg_serving.service.responses import Response
from hyperseg_serving.service.service import Service

CLERK_S = 0.1
"""How often waiting requests are looked through for those that are late or left."""
PUBLISH_S = 1.0
CANARY_PAUSE_S = 1.0
"""From one canary to the next, whoever asks for them."""
SHOWN_IDS = 5


class Caller(Protocol):
    """One request from outside, and the way back."""

    @property
    def name(self) -> str:
        """What the caller calls the request, for the log; may be empty."""
        ...

    @property
    def call(self) -> str:
        """What the gateway calls the connection that it came in; may be empty."""
        ...

    def tensors(self) -> Tensors: ...

    def cancelled(self) -> bool: ...

    def send(self, response: Response, last: bool) -> None: ...

    def refuse(self, failure: Failure) -> None:
        """The last thing that the caller hears."""
        ...


class _Job(Ticket):
    """A request that waits or is worked on."""

    def __init__(self, cost: Cost, writes: bool, caller: Caller, request: Request, allowed_ms: int) -> None:
        super().__init__(cost, writes, caller.call)
        self.caller = caller
        self.request = request
        self.is_cancelled = False
        self.budget = Budget(lambda: self.is_cancelled or caller.cancelled(), allowed_ms)


class Desk:
    """`draining` says whether no new requests are taken; `identity` tells this server from every other.
    `unmeasured` names graphs whose engines were never compared with them, `ungated` quantised ones that passed no task
    metric."""

    def __init__(
        self,
        service: Service,
        limits: Limits,
        counted: Metrics,
        draining: Callable[[], bool],
        identity: str,
        unmeasured: Sequence[str] = (),
        ungated: Sequence[str] = (),
    ) -> None:
        self._service = service
        self._limits = limits
        self._metrics = counted
        self._draining = draining
        self._identity = identity
        self._unmeasured = unmeasured
        self._ungated = ungated
        self._admission = Admission[_Job](limits)
        self._lock = threading.Lock()
        self._turned_away: dict[Reason, list[str]] = defaultdict(list)
        self._jobs: set[_Job] = set()
        self._canaries: list[Caller] = []
        self._canary_runs = False
        self._workers = ThreadPoolExecutor(limits.all_workers, "work")
        self._canary_worker = ThreadPoolExecutor(1, "canary")
        self._closing = threading.Event()
        self._clerk = threading.Thread(target=self._look_after, name="clerk", daemon=True)
        self._clerk.start()

    def take(self, caller: Caller) -> None:
        """Refuse, answer a probe, or put in line; never waits for another request."""
        try:
            request = parse_request(caller.tensors(), self._limits)
            match request:
                case Request(probe=Probe.LIVE):
                    self._send(caller, Response(result=self._state()), Kind.LIVE)
                case Request(probe=Probe.CANARY):
                    self._ask_canary(caller)
                case Request(cancel=str(name)):
                    self._send(caller, Response(result={"cancelled": self._cancel(name)}), Kind.CANCEL)
                case _:
                    self._put_in_line(caller, request)
        except Exception as error:
            self._refuse(caller, error)

    def close(self) -> None:
        self._closing.set()
        self._clerk.join()
        self._workers.shutdown()
        self._canary_worker.shutdown()
        self._service.close()

    def _put_in_line(self, caller: Caller, request: Request) -> None:
        if self._draining():
            raise RefusalError(Reason.DRAINING, STOPPING)
        cost = cost_of(request, self._limits)
        writes = self._service.check(request)
        allowed_ms = min(request.options.timeout_ms or self._limits.max_request_ms, self._limits.max_request_ms)
        job = _Job(cost, writes, caller, request, allowed_ms)
        with self._lock:
            begun = self._admission.arrived(job)
            self._jobs.add(job)
        self._metrics.add(metrics.MASK_PIXELS, cost.mask_pixels)
        self._begin(begun)

    def _begin(self, jobs: list[_Job]) -> None:
        for job in jobs:
            self._workers.submit(self._work, job)

    def _work(self, job: _Job) -> None:
        used_ms = None
        is_answered = False
        self._metrics.observed(metrics.WAIT_MS, job.budget.spent_ms)
        try:
            with self._service.turns.flow() as flow:
                for response in self._service.respond(job.request, job.budget, flow):
                    is_answered = response.result is not None
                    job.caller.send(response, last=is_answered)
                    self._metrics.responded(response)
                    if is_answered:
                        self._metrics.served(_kind(job.request))
                        self._metrics.observed(metrics.REQUEST_MS, job.budget.spent_ms)
                used_ms = flow.used_s * 1000
            self._metrics.observed(metrics.MODEL_MS, used_ms)
        except Exception as error:
            if is_answered:
                self._log(f"after the answer to {job.caller.name or 'a request'}: {error}")
            else:
                self._refuse(job.caller, error)
        finally:
            self._leave(job, used_ms)

    def _leave(self, job: _Job, used_ms: float | None = None) -> None:
        with self._lock:
            begun = self._admission.left(job, used_ms)
            self._jobs.discard(job)
        self._begin(begun)

    def _cancel(self, name: str) -> bool:
        """Whether a request of this id, or from this call, was there to be ended."""
        with self._lock:
            found = [job for job in self._jobs if name in (job.caller.name, job.caller.call)]
            for job in found:
                job.is_cancelled = True
        return bool(found)

    def _ask_canary(self, caller: Caller) -> None:
        """Those who ask while one runs share the next: however many ask, they take no more of the pipeline."""
        with self._lock:
            self._canaries.append(caller)
            if self._canary_runs:
                return
            self._canary_runs = True
        self._canary_worker.submit(self._run_canaries)

    def _run_canaries(self) -> None:
        while True:
            with self._lock:
                callers, self._canaries = self._canaries, []
                self._canary_runs = bool(callers)
            if not callers:
                return
            begun_s = time.monotonic()
            try:
                response = self._service.canary()
            except Exception as error:
                for caller in callers:
                    self._refuse(caller, error)
            else:
                for caller in callers:
                    self._send(caller, response, Kind.CANARY)
            self._closing.wait(begun_s + CANARY_PAUSE_S - time.monotonic())

    def _send(self, caller: Caller, response: Response, kind: Kind) -> None:
        """The only response."""
        try:
            caller.send(response, True)
        except Exception as error:  # one that is gone keeps no other from its answer
            self._log(f"no way back to the caller of {caller.name or 'a request'}: {error}")
        self._metrics.served(kind)

    def _refuse(self, caller: Caller, error: Exception) -> None:
        failure = failure_of(error, caller.name)
        self._metrics.refused(failure.reason)
        with self._lock:
            self._turned_away[failure.reason].append(caller.name)
        try:
            caller.refuse(failure)
        except Exception as lost:
            self._log(f"no way back to the caller of {caller.name or 'a request'}: {lost}")

    def _state(self) -> Mapping[str, Any]:
        with self._lock:
            under_way = self._admission.under_way
        return {
            "identity": self._identity,
            "draining": self._draining(),
            "under_way": under_way,
            "limits": self._limits.model_dump(),
            "unmeasured": list(self._unmeasured),
            "ungated": list(self._ungated),
        }

    def _look_after(self) -> None:
        """The clerk's work: whoever waits is answered in time, and what was counted is published."""
        published_s = time.monotonic()
        while not self._closing.wait(CLERK_S):
            self._refuse_late()
            if time.monotonic() - published_s > PUBLISH_S:
                published_s = time.monotonic()
                self._publish()
        self._publish()

    def _refuse_late(self) -> None:
        with self._lock:
            waiting = [job for lane in self._admission.lanes.values() for job in lane.waiting]
        for job in waiting:
            why = job.budget.over()
            if why is None:
                continue
            with self._lock:
                if not self._admission.waits(job):  # its turn came meanwhile, and it is refused there
                    continue
                begun = self._admission.left(job)
                self._jobs.discard(job)
            self._refuse(job.caller, why)
            self._begin(begun)

    def _publish(self) -> None:
        with self._lock:
            turned_away, self._turned_away = self._turned_away, defaultdict(list)
            lanes = {name: (len(lane.waiting), len(lane.active)) for name, lane in self._admission.lanes.items()}
        for lane, (waiting, active) in lanes.items():
            self._metrics.set(metrics.WAITING, waiting, "lane", lane)
            self._metrics.set(metrics.ACTIVE, active, "lane", lane)
        self._metrics.set(metrics.STREAMS, len(self._service.streams))
        for reason, ids in turned_away.items():
            named = [name for name in ids if name]
            shown = f" (requests {', '.join(named[:SHOWN_IDS])}{' and others' * (len(named) > SHOWN_IDS)})"
            self._log(f"{reason}: {len(ids)} requests{shown if named else ''}")
        self._metrics.publish()

    @staticmethod
    def _log(text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def _kind(request: Request) -> Kind:
    if request.stream:
        return Kind.FRAME
    return Kind.ANSWER if request.question is not None else Kind.MASKS
