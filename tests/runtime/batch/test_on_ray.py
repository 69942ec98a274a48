"""What ends the work in a worker ends the run with the same error, and so with its exit code."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hyperseg_runtime.batch.working import Answer
from hyperseg_runtime.errors import EnvironmentMissingError, HypersegError


@contextmanager
def unopened() -> Iterator[Answer]:
    raise EnvironmentMissingError("there is no GPU")
    yield


@contextmanager
def breaking() -> Iterator[Answer]:
    def answer(key: str) -> list[dict[str, str]]:
        if key == "bad":
            raise HypersegError("CUDA: an illegal memory access")
        return [{"asked": key}]

    yield answer


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")  # Ray's own, about its sockets and threads
def test_errors_come_as_they_are() -> None:
    from hyperseg_runtime.batch.on_ray import on_ray

    with pytest.raises(EnvironmentMissingError, match="there is no GPU"):
        list(on_ray(1)(unopened, ["a"]))
    answers = on_ray(1)(breaking, ["a", "bad"])
    assert next(answers) == ("a", [{"asked": "a"}])
    with pytest.raises(HypersegError, match="an illegal memory access"):
        next(answers)
