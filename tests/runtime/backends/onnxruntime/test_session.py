"""The library's words about memory, and Python's, are one error of ours."""

import pytest

from hyperseg_runtime.backends.onnxruntime.session import memory_explained
from hyperseg_runtime.errors import ResourceError


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("Failed to allocate memory for requested buffer")])
def test_memory_that_ran_out_is_called_by_its_name(error: Exception) -> None:
    with pytest.raises(ResourceError, match="graph llm: memory ran out"), memory_explained("graph llm"):
        raise error


def test_other_errors_stay() -> None:
    with pytest.raises(RuntimeError, match="no such node"), memory_explained("graph llm"):
        raise RuntimeError("no such node")
