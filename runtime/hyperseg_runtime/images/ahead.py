"""Reading on while somebody works on what was read."""

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def read_ahead(items: Iterable[Item]) -> Generator[Item, None, None]:
    """The same items in their order, the next one made by a thread while the last one is in use: decoders of images and
    videos free Python's lock. What making one raises is raised in its place. Whoever leaves early waits for the one
    that is being made.
    """
    source = iter(items)
    with ThreadPoolExecutor(1, "read-ahead") as reader:
        coming = reader.submit(lambda: tuple(islice(source, 1)))
        while made := coming.result():
            coming = reader.submit(lambda: tuple(islice(source, 1)))
            yield made[0]
