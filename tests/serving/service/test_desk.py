"""Requests come in and are answered, refused, counted: on a service that is told when to go on."""

import threading
import time
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest

from hyperseg_runtime.errors import InputError
from hyperseg_serving.client.client import encoded
from hyperseg_serving.contract import Limits, Options, Probe
from hyperseg_serving.refusals import Failure, Reason
from hyperseg_serving.service import desk as desks
from hyperseg_serving.service import metrics
from hyperseg_serving.service.admission import LaneName
from hyperseg_serving.service.budget import Budget
from hyperseg_serving.service.desk import Desk
from hyperseg_serving.service.metrics import Metrics
from hyperseg_serving.service.requests import Request, Tensors, tensors_of
from hyperseg_serving.service.responses import Response
from hyperseg_serving.service.service import Service
from hyperseg_serving.service.turns import Flow, Turns
from metrics_double import MetricsModule

LIMITS = Limits(workers=1, heavy_workers=1, max_queue=2, max_heavy_queue=1, light_mask_pixels=500)
LIGHT, HEAVY = (encoded(np.zeros((10, width_px, 3), np.uint8)) for width_px in (20, 60))
DONE = Response(result={"results": []})


class HeldService:
    """Answers when `go` is set, or stops when its budget is over."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.streams: dict[str, object] = {}
        self.go = threading.Event()
        self.canaries = 0
        self.fault: Exception | None = None

    def check(self, request: Request) -> bool:
        if request.options.task == "unknown":
            raise InputError("unknown task")
        return request.question is not None

    def respond(self, request: Request, budget: Budget, flow: Flow) -> Iterator[Response]:
        while not self.go.wait(0.005):
            budget.check()
        if self.fault:
            raise self.fault
        yield DONE

    def canary(self) -> Response:
        self.canaries += 1
        return DONE

    def close(self) -> None: ...


class Caller:
    def __init__(self, request: Request, name: str = "", call: str = "") -> None:
        self.request = request
        self.name = name
        self.call = call
        self.left = False
        self.heard: list[Response | Failure] = []
        self.answered = threading.Event()

    def tensors(self) -> Tensors:
        return tensors_of(self.request)

    def cancelled(self) -> bool:
        return self.left

    def send(self, response: Response, last: bool) -> None:
        self.heard.append(response)
        if last:
            self.answered.set()

    def refuse(self, failure: Failure) -> None:
        self.heard.append(failure)
        self.answered.set()

    def reason(self, within_s: float = 2.0) -> Reason | None:
        """Why it was refused; None for an answer."""
        assert self.answered.wait(within_s)
        (only,) = self.heard
        return only.reason if isinstance(only, Failure) else None


class Counter:
    """A desk, and what it counted."""

    def __init__(self) -> None:
        self.service, self.module, self.draining = HeldService(), MetricsModule(), False
        counted = Metrics(self.module)
        self.desk = Desk(cast(Service, self.service), LIMITS, counted, lambda: self.draining, "me", ["llm"])
        self.publish = counted.publish

    def ask(self, request: Request, name: str = "", call: str = "") -> Caller:
        caller = Caller(request, name, call)
        self.desk.take(caller)
        return caller

    def value(self, *key: str) -> float:
        return self.module.values[key]


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter]:
    monkeypatch.setattr(desks, "CLERK_S", 0.01)
    monkeypatch.setattr(desks, "CANARY_PAUSE_S", 0.01)
    made = Counter()
    yield made
    made.service.go.set()
    made.desk.close()


def small(**options: Any) -> Request:
    return Request(LIGHT, ("a",), options=Options(**options))


def test_a_full_line_refuses_at_once_and_counts_it(counter: Counter, capsys: pytest.CaptureFixture[str]) -> None:
    waiting = [counter.ask(small()) for _ in range(3)]
    start = time.monotonic()
    late = [counter.ask(small(), f"request-{number}") for number in range(20)]
    assert {caller.reason() for caller in late} == {Reason.BUSY}
    assert time.monotonic() - start < 0.1 * len(late)
    counter.service.go.set()
    assert {caller.reason() for caller in waiting} == {None}
    counter.desk.close()
    assert counter.value(metrics.REFUSED, "E_BUSY") == 20
    assert counter.value(metrics.SERVED, "masks") == 3
    assert counter.value(f"{metrics.WAIT_MS}_count") == counter.value(f"{metrics.MODEL_MS}_count") == 3
    assert "E_BUSY: 20 requests (requests request-0, request-1" in capsys.readouterr().err


def test_heavy_requests_leave_the_lane_of_others_free(counter: Counter) -> None:
    heavy = [counter.ask(Request(HEAVY, ("a",))) for _ in range(2)]
    assert counter.ask(Request(HEAVY, ("a",))).reason() is Reason.BUSY
    light = counter.ask(small())
    counter.service.go.set()
    assert light.reason() is None and [caller.reason() for caller in heavy] == [None, None]


def test_answers_leave_the_lane_of_masks_free(counter: Counter) -> None:
    answers = [counter.ask(Request(question="a?")) for _ in range(LIMITS.word_workers + 1)]
    light = counter.ask(small())
    assert len(counter.desk._admission.lanes[LaneName.LIGHT].active) == 1
    counter.service.go.set()
    assert light.reason() is None and {caller.reason() for caller in answers} == {None}


def test_one_that_is_late_or_left_is_answered_while_it_waits(counter: Counter) -> None:
    counter.ask(small())
    late, left = counter.ask(small(timeout_ms=60)), counter.ask(small())
    left.left = True
    assert left.reason(1.0) is Reason.CANCELLED
    assert late.reason(1.0) is Reason.TIMEOUT
    assert counter.ask(Request(probe=Probe.LIVE)).heard[0].result["under_way"] == 1  # type: ignore[union-attr,index]


def test_probes_pass_a_full_line(counter: Counter) -> None:
    for _ in range(3):
        counter.ask(small())
    live, canary = counter.ask(Request(probe=Probe.LIVE)), counter.ask(Request(probe=Probe.CANARY))
    assert live.reason(0.1) is None and canary.reason() is None
    (state,) = (heard.result for heard in live.heard if isinstance(heard, Response))
    assert state is not None and (state["identity"], state["under_way"], state["draining"]) == ("me", 3, False)
    assert state["limits"] == LIMITS.model_dump() and state["unmeasured"] == ["llm"]


def test_however_many_ask_for_a_canary_they_share_it(counter: Counter) -> None:
    callers = [counter.ask(Request(probe=Probe.CANARY)) for _ in range(50)]
    assert {caller.reason() for caller in callers} == {None}
    assert counter.service.canaries <= 3


def test_draining_takes_nothing_new_and_answers_what_is_there(counter: Counter) -> None:
    before = counter.ask(small())
    counter.draining = True
    assert counter.ask(small()).reason() is Reason.DRAINING
    assert counter.ask(Request(probe=Probe.LIVE)).reason() is None
    counter.service.go.set()
    assert before.reason() is None


def test_what_the_family_refuses_waits_for_nothing(counter: Counter) -> None:
    counter.ask(small())
    assert counter.ask(small(task="unknown")).reason(0.1) is Reason.REQUEST
    assert counter.ask(Request(b"none", ("a",))).reason(0.1) is Reason.IMAGE


def test_an_internal_fault_is_logged_with_the_requests_name(
    counter: Counter, capsys: pytest.CaptureFixture[str]
) -> None:
    counter.service.fault = RuntimeError("/secret")
    counter.service.go.set()
    caller = counter.ask(small(), "mine")
    assert caller.reason() is Reason.INTERNAL
    assert "secret" not in str(caller.heard[0]) and ", request mine:" in capsys.readouterr().err
    assert counter.ask(small()).reason() is Reason.INTERNAL  # its place was given back


def test_a_request_is_ended_by_its_id_alone(counter: Counter) -> None:
    names = ("0123456789abcdef", "fedcba9876543210")
    working, waiting = (counter.ask(small(), name) for name in names)
    for guess in ("a", "0123456789abcdeX"):
        assert counter.ask(Request(cancel=guess)).answered.wait(1)
    assert not working.heard and not waiting.heard
    for name, caller in zip(names, (working, waiting), strict=True):
        assert counter.ask(Request(cancel=name)).reason() is None
        assert caller.reason(1.0) is Reason.CANCELLED


def test_all_of_a_call_is_ended_by_the_calls_name(counter: Counter) -> None:
    """As the gateway asks for callers who left."""
    gone, other = "0123456789abcdef", "fedcba9876543210"
    left, also_left = (counter.ask(small(), f"id {number}", gone) for number in range(2))
    stays = counter.ask(small(), "id 0", other)
    assert counter.ask(Request(cancel=gone)).reason() is None
    assert left.reason(1.0) is also_left.reason(1.0) is Reason.CANCELLED
    assert not stays.heard
