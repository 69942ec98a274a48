"""Turns are fair by the time they take."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from hyperseg_serving.service.turns import Turns


class Clock:
    """Moves only when work is done."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def wait_for(turns: Turns, waiting: int) -> None:
    while turns.waiting < waiting:
        time.sleep(0.001)


def test_small_turns_pass_one_that_had_a_long_one() -> None:
    """One caller's turns take 10 s, another's 1 s: they get the same time, not the same number."""
    clock, order = Clock(), list[str]()
    turns = Turns(clock)
    begun = threading.Barrier(3)

    def work(name: str, each_s: float, count: int) -> None:
        with turns.flow() as flow:
            begun.wait()
            for _ in range(count):
                with turns.turn(flow):
                    order.append(name)
                    clock.now_s += each_s

    with turns.flow() as held, ThreadPoolExecutor(2) as pool:
        with turns.turn(held):
            done = [pool.submit(work, "long", 10, 3), pool.submit(work, "short", 1, 30)]
            begun.wait()
            wait_for(turns, 2)
        for one in done:
            one.result()
    first, second, third = (index for index, name in enumerate(order) if name == "long")
    assert second - first > 6 and third - second > 6


def test_equal_ones_in_the_order_of_arrival_one_at_a_time() -> None:
    turns, order = Turns(Clock()), list[int]()

    def work(number: int) -> None:
        with turns.flow() as flow, turns.turn(flow):
            order.append(number)

    with turns.flow() as held, ThreadPoolExecutor(8) as pool, turns.turn(held):
        for number in range(8):
            pool.submit(work, number)
            wait_for(turns, number + 1)
        assert order == []
    assert order == list(range(8))


def test_a_probe_comes_first() -> None:
    turns, order = Turns(Clock()), list[str]()

    def work(name: str, first: bool) -> None:
        with turns.flow(first) as flow, turns.turn(flow):
            order.append(name)

    with turns.flow() as held, ThreadPoolExecutor(2) as pool, turns.turn(held):
        pool.submit(work, "request", False)
        wait_for(turns, 1)
        pool.submit(work, "probe", True)
        wait_for(turns, 2)
    assert order == ["probe", "request"]


def test_who_gives_up_leaves_the_line_and_an_error_passes_it_on() -> None:
    turns = Turns()

    def late() -> None:
        raise TimeoutError

    with turns.flow() as held, turns.flow() as other:
        with turns.turn(held), pytest.raises(TimeoutError), turns.turn(other, late):
            pass
        assert turns.waiting == 0
        with pytest.raises(ValueError), turns.turn(held):
            raise ValueError
        with turns.turn(other):
            assert turns.waiting == 0
