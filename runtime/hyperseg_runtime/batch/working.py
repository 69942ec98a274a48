"""Who does the work: this process, or those of Ray. Both call the same function of a sample's key."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

from hyperseg_runtime.batch.item_file import Row

Answer = Callable[[str], list[Row]]
"""Rows of the sample with this key."""
Job = Callable[[], AbstractContextManager[Answer]]
"""Opens what the work takes, once in every process; it can go to another one (pickle)."""
Worker = Callable[[Job, Sequence[str]], Iterator[tuple[str, list[Row]]]]
"""Rows of samples as they are done, in any order."""


def in_this_process(job: Job, keys: Sequence[str]) -> Iterator[tuple[str, list[Row]]]:
    """One sample after another."""
    with job() as answer:
        for key in keys:
            yield key, answer(key)
