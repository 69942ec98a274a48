"""Who is let in, who waits, who is told at once that there is no room."""

import pytest

from hyperseg_serving.contract import Limits
from hyperseg_serving.refusals import Reason, RefusalError
from hyperseg_serving.service.admission import Admission, LaneName, Ticket
from hyperseg_serving.service.cost import Cost

LIMITS = Limits(
    workers=2, heavy_workers=1, word_workers=1, max_queue=3, max_heavy_queue=1, max_word_queue=1, max_wait_ms=1000,
    max_queue_bytes=100,
)  # fmt: skip


def ticket(is_heavy: bool = False, waiting_bytes: int = 0) -> Ticket:
    return Ticket(Cost(1, waiting_bytes, is_heavy))


def refused(admission: Admission[Ticket], one: Ticket) -> str:
    with pytest.raises(RefusalError) as refusal:
        admission.arrived(one)
    assert refusal.value.reason is Reason.BUSY
    return str(refusal.value)


def test_a_lane_works_waits_and_refuses() -> None:
    admission = Admission[Ticket](LIMITS)
    asked = [ticket() for _ in range(5)]
    assert [admission.arrived(one) for one in asked] == [[asked[0]], [asked[1]], [], [], []]
    assert "3 requests wait" in refused(admission, ticket())
    assert admission.under_way == 5
    assert admission.left(asked[0]) == [asked[2]]
    assert admission.left(asked[4]) == [] and not admission.waits(asked[4])  # it gave up
    assert admission.left(asked[1]) == [asked[3]]


def test_heavy_requests_hold_each_other_up_and_nobody_else() -> None:
    admission = Admission[Ticket](LIMITS)
    heavy, light = [ticket(is_heavy=True) for _ in range(2)], ticket()
    assert [admission.arrived(one) for one in heavy] == [[heavy[0]], []]
    refused(admission, ticket(is_heavy=True))
    assert admission.arrived(light) == [light]
    assert admission.left(heavy[0]) == [heavy[1]]


def test_words_have_a_lane_of_their_own() -> None:
    """However long an answer takes, whoever asks for masks waits for a turn and for no place."""
    admission = Admission[Ticket](LIMITS)
    asked = [Ticket(Cost(1, 0, is_heavy=False), writes=True) for _ in range(2)]
    assert [admission.arrived(one) for one in asked] == [[asked[0]], []]
    assert "1 requests wait" in refused(admission, Ticket(Cost(1, 0, is_heavy=False), writes=True))
    light = ticket()
    assert admission.arrived(light) == [light]
    assert Ticket(Cost(1, 0, is_heavy=True), writes=True).lane is LaneName.HEAVY


def test_one_call_fills_half_of_the_line() -> None:
    """Whatever it sends at once, there is room for others."""
    admission = Admission[Ticket](LIMITS)
    for _ in range(3):
        admission.arrived(Ticket(Cost(1, 0, is_heavy=False), call="a call"))
    assert "half of all" in refused(admission, Ticket(Cost(1, 0, is_heavy=False), call="a call"))
    other = Ticket(Cost(1, 0, is_heavy=False), call="another")
    assert admission.arrived(other) == [] and admission.waits(other)


def test_nobody_is_let_in_to_wait_longer_than_allowed() -> None:
    """By what requests took before; but as many as are worked on may always wait."""
    admission = Admission[Ticket](LIMITS)
    first = ticket()
    admission.arrived(first)
    admission.left(first, used_ms=600)
    for _ in range(4):
        admission.arrived(ticket())
    assert "about 2.4 s" in refused(admission, ticket())
    assert admission.lanes[LaneName.LIGHT].mean_ms == 600


def test_the_mean_follows_what_requests_take() -> None:
    admission = Admission[Ticket](LIMITS)
    for _ in range(50):
        one = ticket()
        admission.arrived(one)
        admission.left(one, used_ms=100)
    one = ticket()
    admission.arrived(one)
    admission.left(one)  # refused or failed: says nothing
    assert admission.lanes[LaneName.LIGHT].mean_ms == pytest.approx(100)


def test_a_few_slow_requests_have_nobody_refused() -> None:
    admission = Admission[Ticket](LIMITS)
    for used_ms in (*[100] * 50, 900, 900, 900):
        one = ticket()
        admission.arrived(one)
        admission.left(one, used_ms=used_ms)
    assert [len(admission.arrived(ticket())) for _ in range(5)] == [1, 1, 0, 0, 0]


def test_what_waits_holds_no_more_memory_than_allowed() -> None:
    admission = Admission[Ticket](LIMITS)
    for _ in range(3):
        admission.arrived(ticket(waiting_bytes=80))
    assert "80 bytes" in refused(admission, ticket(waiting_bytes=30))
    assert admission.arrived(ticket(waiting_bytes=20)) == []
