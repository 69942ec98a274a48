"""Numbers in files that somebody else wrote."""

import math
from typing import TypeGuard


def is_number(value: object) -> TypeGuard[int | float]:
    """A number that a float can hold: JSON has whole numbers of any length, and Python reads NaN and Infinity too."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
