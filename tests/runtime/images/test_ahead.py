"""One item ahead, and no more."""

from collections.abc import Iterator
from threading import Event, Thread, current_thread

import pytest

from hyperseg_runtime.images.ahead import read_ahead

LIMIT_S = 10


def test_all_items_in_their_order() -> None:
    assert list(read_ahead(range(5))) == [*range(5)] and list(read_ahead(())) == []


def test_the_next_one_is_made_while_the_last_one_is_in_use() -> None:
    begun = [Event() for _ in range(3)]

    def items() -> Iterator[int]:
        for number, one in enumerate(begun):
            one.set()
            yield number

    coming = read_ahead(items())
    assert next(coming) == 0
    assert begun[1].wait(LIMIT_S) and not begun[2].is_set()
    assert list(coming) == [1, 2]


def test_an_error_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("the second")

    coming = read_ahead(items())
    assert next(coming) == 1
    with pytest.raises(ValueError, match="the second"):
        next(coming)


def test_whoever_leaves_early_leaves_no_thread() -> None:
    makers: list[Thread] = []

    def items() -> Iterator[int]:
        for number in range(9):
            makers.append(current_thread())
            yield number

    coming = read_ahead(items())
    next(coming)
    coming.close()
    assert len(makers) <= 2 and not any(maker.is_alive() for maker in makers)
