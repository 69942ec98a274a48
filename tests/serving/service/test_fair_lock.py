"""Nobody waits for ever."""

import threading
import time

from hyperseg_serving.service.fair_lock import FairLock


def test_a_thread_that_comes_again_and_again_lets_others_in() -> None:
    lock, order = FairLock(), list[str]()
    started = threading.Event()

    def greedy() -> None:
        for _ in range(50):
            with lock:
                order.append("greedy")
                started.set()
                time.sleep(0.001)

    thread = threading.Thread(target=greedy)
    thread.start()
    started.wait()
    for _ in range(5):
        with lock:
            order.append("other")
    thread.join()
    assert order.count("greedy") == 50
    last = max(index for index, name in enumerate(order) if name == "other")
    assert last < 25  # one time in two, give or take


def test_one_at_a_time_in_the_order_of_arrival() -> None:
    lock, order, inside = FairLock(), list[int](), list[int]()

    def work(number: int) -> None:
        with lock:
            inside.append(number)
            assert len(inside) == 1
            order.append(number)
            inside.remove(number)

    with lock:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for waiting, thread in enumerate(threads, 1):
            thread.start()
            while lock.waiting < waiting:
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert order == list(range(8))


def test_an_error_passes_the_lock_on() -> None:
    lock = FairLock()
    for _ in range(2):
        try:
            with lock:
                raise ValueError
        except ValueError:
            pass
    with lock:
        assert lock.waiting == 0
