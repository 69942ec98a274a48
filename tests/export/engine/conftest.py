"""TensorRT and a GPU that are not there: the doubles, for this process and for the workers it starts."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]


@pytest.fixture
def tensorrt_double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`import tensorrt` and `import cuda` give the doubles of tests/doubles."""
    paths = [str(TESTS / "doubles"), str(TESTS)]
    for path in reversed(paths):
        monkeypatch.syspath_prepend(path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    _forget()
    yield
    _forget()


def _forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in ("tensorrt", "cuda")]:
        del sys.modules[name]
