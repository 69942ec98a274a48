"""Bounded fuzzing: the same examples on every run of the tests; as many others as wanted with `make fuzz`."""

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, seed, settings

EXAMPLES = int(os.environ.get("HYPERSEG_FUZZ_EXAMPLES", "0"))
"""Of each parser in a longer run, drawn anew every time; 0: the tests' own number, always the same."""
SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]


def fuzzed(number: int, examples: int = 150) -> Callable[[Any], Any]:
    """For a property test: its seed, and how many examples it draws in the tests."""
    bounds = settings(deadline=None, max_examples=EXAMPLES or examples, suppress_health_check=SLOW_IS_FINE)

    def decorate(test: Any) -> Any:
        return bounds(test if EXAMPLES else seed(number)(test))

    return decorate
