"""Nobody waits for ever."""

import threading
import time

from hyperseg_serving.service.turns import Turns


def test_a_thread_that_comes_again_and_again_lets_others_in() -> None:
    turns, order = Turns(), list[str]()
    started = threading.Event()

    def greedy() -> None:
        for _ in range(50):
            with turns.next():
                order.append("greedy")
                started.set()
                time.sleep(0.001)

    thread = threading.Thread(target=greedy)
    thread.start()
    started.wait()
    for _ in range(5):
        with turns.next():
            order.append("other")
    thread.join()
    assert order.count("greedy") == 50
    last = max(index for index, name in enumerate(order) if name == "other")
    assert last < 25  # one turn in two, give or take


def test_one_at_a_time_in_the_order_of_arrival() -> None:
    turns, order, inside = Turns(), list[int](), list[int]()

    def work(number: int) -> None:
        with turns.next():
            inside.append(number)
            assert len(inside) == 1
            order.append(number)
            inside.remove(number)

    with turns.next():
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for waiting, thread in enumerate(threads, 1):
            thread.start()
            while len(turns) < waiting:
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert order == list(range(8))


def test_an_error_gives_the_turn_on() -> None:
    turns = Turns()
    for _ in range(2):
        try:
            with turns.next():
                raise ValueError
        except ValueError:
            pass
    with turns.next():
        assert len(turns) == 0
