"""What a file may say where a number is expected."""

import math

import pytest

from hyperseg_runtime.contracts.numbers import is_number


@pytest.mark.parametrize("value", [0, -3, 1.5, 1e308, 10**300])
def test_numbers(value: object) -> None:
    assert is_number(value)


@pytest.mark.parametrize("value", [True, None, "3", [3], math.nan, math.inf, -math.inf, 10**400, -(10**400)])
def test_others(value: object) -> None:
    assert not is_number(value)
