"""Which of many comparisons stands for an output."""

import pytest

from hyperseg_export.parity.entries import worst_of
from hyperseg_runtime.bundle.manifest import ParityEntry
from hyperseg_runtime.errors import ParityError


def row(error: float, tolerance: float = 1e-4) -> ParityEntry:
    return ParityEntry(
        graph="g", output="scores", measure="error / range", engine="onnxruntime", worst_error=error,
        tolerance=tolerance, passed=error <= tolerance,
    )  # fmt: skip


@pytest.mark.parametrize("order", [1, -1])
def test_the_largest_error_stands_for_all(order: int) -> None:
    assert worst_of("g", [row(2e-5), row(8e-5), row(3e-5)][::order]) == (row(8e-5),)


@pytest.mark.parametrize("order", [1, -1])
def test_one_that_failed_is_not_hidden_by_a_larger_error_that_was_allowed(order: int) -> None:
    assert worst_of("g", [row(5e-4, tolerance=6e-4), row(2e-4)][::order]) == (row(2e-4),)


def test_a_graph_that_nobody_called_was_not_compared() -> None:
    with pytest.raises(ParityError, match="not called"):
        worst_of("g", [])
