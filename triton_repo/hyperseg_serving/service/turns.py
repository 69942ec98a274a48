"""Who may use the pipeline next: turns that are fair by the time they take, not by their number."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

POLL_S = 0.05
"""How often one that waits asks whether it still should."""
RETURN_S = 0.005
"""How long the pipeline is kept for one that just had a turn, if the next is due to it as well."""


@dataclass(eq=False)
class Flow:
    """One request's turns. `tag_s` is when the next is due, in the time that each flow would have had if all under way
    shared the pipeline evenly.
    """

    tag_s: float
    first: bool = False
    """Its turn is the next, whoever waits."""
    used_s: float = 0.0
    """Time of its turns together."""

    @property
    def rank(self) -> tuple[bool, float]:
        return not self.first, self.tag_s


class Turns:
    """One turn at a time, to the flow that has had the least of its share (start-time fair queueing: Goyal, Vin and
    Cheng, "Start-time Fair Queuing", SIGCOMM 1996, with one flow for each request).

    A flow that just had a long turn lets all others pass until they have had as much. One that comes again and again
    with small turns, such as the tokens of an answer, is waited for between two of them: else whoever waits then would
    get every second turn, however long it is (Iyer and Druschel, "Anticipatory scheduling", SOSP 2001).
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._virtual_s = 0.0
        self._flows = 0
        self._waiting: list[Flow] = []  # in the order they came
        self._taken = False
        self._expected: Flow | None = None
        self._expected_until_s = 0.0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @contextmanager
    def flow(self, first: bool = False) -> Iterator[Flow]:
        """For as long as a request is worked on. `first` is for probes: its turns come before all others."""
        with self._changed:
            self._flows += 1
            mine = Flow(self._virtual_s, first)
        try:
            yield mine
        finally:
            with self._changed:
                self._flows -= 1
                if self._expected is mine:
                    self._expected = None
                self._changed.notify_all()

    @contextmanager
    def turn(self, flow: Flow, check: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Alone with the pipeline. `check` is asked while others have it, and may raise."""
        self._enter(flow, check)
        start_s = self._clock()
        try:
            yield
        finally:
            self._leave(flow, self._clock() - start_s)

    def _enter(self, flow: Flow, check: Callable[[], None]) -> None:
        with self._changed:
            flow.tag_s = max(flow.tag_s, self._virtual_s)
            self._waiting.append(flow)
            if self._expected is flow:
                self._expected = None
        try:
            while not self._taken_by(flow):
                check()
        except BaseException:
            with self._changed:
                self._waiting.remove(flow)
                self._changed.notify_all()
            raise

    def _taken_by(self, flow: Flow) -> bool:
        """Whether `flow` has the turn now; waits for it, but not for long."""
        with self._changed:
            if not self._is_next(flow):
                left_s = self._expected_until_s - time.monotonic() if self._expected else 0.0
                self._changed.wait(left_s if left_s > 0 else POLL_S)
            if not self._is_next(flow):
                return False
            self._taken, self._expected = True, None
            self._waiting.remove(flow)
            return True

    def _is_next(self, flow: Flow) -> bool:
        if self._taken or flow is not min(self._waiting, key=lambda other: other.rank):
            return False
        better = self._expected is not None and self._expected.rank < flow.rank
        return not better or time.monotonic() > self._expected_until_s

    def _leave(self, flow: Flow, spent_s: float) -> None:
        with self._changed:
            self._taken = False
            flow.used_s += spent_s
            flow.tag_s += spent_s
            self._virtual_s += spent_s / max(self._flows, 1)
            self._expected, self._expected_until_s = flow, time.monotonic() + RETURN_S
            self._changed.notify_all()
