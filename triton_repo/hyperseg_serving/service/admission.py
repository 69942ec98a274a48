"""Which requests are worked on now, which wait, and which are refused at once."""

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from hyperseg_serving.contract import Limits
from hyperseg_serving.refusals import Reason, RefusalError
from hyperseg_serving.service.cost import Cost

HISTORY = 0.03
"""Weight of the newest request in the mean that waiting is estimated from. New images take several times what seen ones
do: with 0.1 three of them in a row have others refused, who would wait no longer than allowed."""


class LaneName(StrEnum):
    LIGHT = "light"
    HEAVY = "heavy"
    WORDS = "words"


@dataclass(eq=False)
class Ticket:
    """A request's place. `writes`: the model writes words for it. `call`: the gateway's name of the gRPC call that it
    came in, empty where there is none."""

    cost: Cost
    writes: bool = False
    call: str = ""

    @property
    def lane(self) -> LaneName:
        if self.cost.is_heavy:
            return LaneName.HEAVY
        return LaneName.WORDS if self.writes else LaneName.LIGHT


Placed = TypeVar("Placed", bound=Ticket)


@dataclass
class Lane(Generic[Placed]):
    """`places` are worked on at once, at most `room` wait."""

    places: int
    room: int
    waiting: deque[Placed] = field(default_factory=deque)
    active: set[Placed] = field(default_factory=set)
    mean_ms: float = 0.0
    """What a request takes of the pipeline."""
    answered: int = 0

    def took(self, used_ms: float) -> None:
        """A request was answered: the mean of all at first, then of the latest."""
        self.answered += 1
        self.mean_ms += (used_ms - self.mean_ms) * max(HISTORY, 1 / self.answered)

    @property
    def expected_ms(self) -> float:
        """How long one that comes now would wait for those before it."""
        return self.mean_ms * (len(self.waiting) + len(self.active))


class Admission(Generic[Placed]):
    """Lanes, so that requests which take long hold each other up and nobody else. Not thread-safe.

    One that finds its lane full, or would wait longer than `max_wait_ms` by what the ones before took, is refused when
    it comes: it is told within milliseconds, and what waits is answered in time.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.lanes: dict[LaneName, Lane[Placed]] = {
            LaneName.LIGHT: Lane(limits.workers, limits.max_queue),
            LaneName.HEAVY: Lane(limits.heavy_workers, limits.max_heavy_queue),
            LaneName.WORDS: Lane(limits.word_workers, limits.max_word_queue),
        }

    @property
    def under_way(self) -> int:
        """Requests that wait or are worked on."""
        return sum(len(lane.waiting) + len(lane.active) for lane in self.lanes.values())

    @property
    def waiting_bytes(self) -> int:
        return sum(ticket.cost.waiting_bytes for lane in self.lanes.values() for ticket in lane.waiting)

    def waits(self, ticket: Placed) -> bool:
        return ticket in self.lanes[ticket.lane].waiting

    def arrived(self, ticket: Placed) -> list[Placed]:
        """Take it in; gives those to begin now. Raises RefusalError where there is no room."""
        lane = self.lanes[ticket.lane]
        if len(lane.active) >= lane.places:
            self._require_room(lane, ticket)
        lane.waiting.append(ticket)
        return self._begun(lane)

    def left(self, ticket: Placed, used_ms: float | None = None) -> list[Placed]:
        """It is answered, in whatever way; gives those to begin now. `used_ms` is what it took of the pipeline."""
        lane = self.lanes[ticket.lane]
        if ticket in lane.active:
            lane.active.remove(ticket)
        else:
            lane.waiting.remove(ticket)
        if used_ms is not None:
            lane.took(used_ms)
        return self._begun(lane)

    def _begun(self, lane: Lane[Placed]) -> list[Placed]:
        begun: list[Placed] = []
        while lane.waiting and len(lane.active) < lane.places:
            ticket = lane.waiting.popleft()
            lane.active.add(ticket)
            begun.append(ticket)
        return begun

    def _require_room(self, lane: Lane[Placed], ticket: Placed) -> None:
        limits = self._limits
        if len(lane.waiting) >= lane.room:
            raise RefusalError(Reason.BUSY, f"{len(lane.waiting)} requests wait already; try again later")
        if ticket.call and sum(other.call == ticket.call for other in lane.waiting) >= max(1, lane.room // 2):
            raise RefusalError(
                Reason.BUSY, "half of all that may wait were sent in this call already; read their answers first"
            )
        # As many as are worked on may always wait: a slow model would refuse all but the first otherwise.
        if len(lane.waiting) >= lane.places and lane.expected_ms > limits.max_wait_ms:
            raise RefusalError(
                Reason.BUSY,
                f"the wait would be about {lane.expected_ms / 1000:.1f} s, at most {limits.max_wait_ms / 1000:g} s "
                "are asked of anybody; try again later",
            )
        if lane.waiting and self.waiting_bytes + ticket.cost.waiting_bytes > limits.max_queue_bytes:
            raise RefusalError(Reason.BUSY, f"waiting requests hold {self.waiting_bytes:,} bytes; try again later")
